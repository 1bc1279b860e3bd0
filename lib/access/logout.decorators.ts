import { applyDecorators, SetMetadata, UseInterceptors } from '@nestjs/common';
import { LOGOUT } from '../session.constants.js';
import { LogoutInterceptor } from './logout.interceptor.js';

/** What `Clear-Site-Data` can make a browser forget. */
export type ClearSiteData = 'cache' | 'cookies' | 'storage' | 'executionContexts';

/** Options of {@link Logout}. */
export interface LogoutOptions {
  /**
   * What else the browser is to forget of this origin, by the header `Clear-Site-Data`; `true`: cache,
   * cookies and storage. `'cookies'` takes those of other applications under the same registrable domain
   * along. Browsers heed it over https only, and some not at all.
   *
   * @default false
   */
  clearSiteData?: boolean | readonly ClearSiteData[];
}

const KINDS: readonly ClearSiteData[] = ['cache', 'cookies', 'storage', 'executionContexts'];
const ALL: readonly ClearSiteData[] = ['cache', 'cookies', 'storage'];

/**
 * Ends the session after its handler, whatever way that answers, and clears the cookie with the attributes
 * that it was set with. Who has no session gets the same answer. If the handler throws, the session stays.
 * If the store does not confirm the end, the answer is 503, and the cookie stays.
 *
 * Only a POST logs out: a link or an image must not. Any other method that the route takes answers 405
 * and ends nothing.
 *
 * @throws TypeError for a `clearSiteData` that no browser knows
 * @example \@Post('logout') \@HttpCode(204) \@Logout() logout() {}
 * @example \@All('logout') \@Logout({ clearSiteData: ['cache', 'storage'] }) logout() {}
 */
export const Logout = ({ clearSiteData = false }: LogoutOptions = {}): MethodDecorator => {
  const given: unknown = clearSiteData;
  const kinds = given === true ? ALL : given === false ? [] : given;
  const fits =
    Array.isArray(kinds) &&
    (given === false || kinds.length > 0) &&
    kinds.every((kind) => KINDS.includes(kind as ClearSiteData));
  if (!fits) {
    throw new TypeError(
      `@Logout: clearSiteData must be a boolean, or a list of ${KINDS.join(', ')} that is not empty`,
    );
  }
  const header = kinds.length > 0 ? kinds.map((kind) => `"${kind}"`).join(', ') : undefined;
  return applyDecorators(
    SetMetadata(LOGOUT, { clearSiteData: header }),
    UseInterceptors(LogoutInterceptor),
  );
};
