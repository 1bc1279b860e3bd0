import {
  Injectable,
  MethodNotAllowedException,
  type CallHandler,
  type ExecutionContext,
  type NestInterceptor,
} from '@nestjs/common';
import { tap, type Observable } from 'rxjs';
import type { SessionLane } from '../http/session-lane.js';
import { LOGOUT } from '../session.constants.js';
import { corridorIn, laneOf } from './session-of.js';

/** What `@Logout()` does. */
@Injectable()
export class LogoutInterceptor implements NestInterceptor {
  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const lane = laneOf(context);
    // A message over a socket is neither a link nor an image.
    const isMessage = context.getType<string>() === 'ws';
    if (!isMessage && corridorIn(context)?.request.method !== 'POST') refuseMethod(context);
    // With the answer, not after the handler: that may have answered by itself then.
    lane.logout = Reflect.getMetadata(LOGOUT, context.getHandler()) as SessionLane['logout'];
    return next.handle().pipe(tap({ error: () => (lane.logout = undefined) }));
  }
}

/** RFC 9110, section 15.5.6: the answer says which methods there are. */
function refuseMethod(context: ExecutionContext): never {
  if (context.getType() === 'http') {
    const response = context
      .switchToHttp()
      .getResponse<{ header(name: string, value: string): unknown }>();
    response.header('Allow', 'POST');
  }
  throw new MethodNotAllowedException('Log out by POST: a link or an image must not do it.');
}
