import { isCarried } from '../core/carried-store.interface.js';
import type { SessionModuleOptions } from './session-module.options.js';

/** What may not hold there, as it was decided at boot. */
interface Decided {
  readonly store: unknown;
  readonly secrets: readonly string[];
  readonly maxSessions: unknown;
  readonly indexes: unknown;
  readonly events: unknown;
  readonly nearCache: unknown;
  readonly encryption: unknown;
  readonly accounts: number;
  readonly deviceBound: unknown;
  readonly renewalTimeout: number | undefined;
}

/** What cannot hold where clients carry their sessions: it is refused, instead of being pretended. */
export function carriedContradictions(given: SessionModuleOptions, resolved: Decided): string[] {
  const { store } = resolved;
  if (!isCarried(store)) return [];
  const { form, isRevocable, needsSecret } = store.carries;
  const why = `store: ${form} leaves sessions with their clients`;
  const server = 'leave it out, or keep sessions in a store on the server';
  const needs: readonly (readonly [boolean, string])[] = [
    [
      !needsSecret || resolved.secrets.length > 0,
      `store: ${form} needs \`secret\`, by which others cannot make or read sessions: give it`,
    ],
    [
      resolved.maxSessions === Infinity,
      `${why}, and nobody can count them: maxSessions cannot hold; ${server}`,
    ],
    [!resolved.indexes, `${why}, and nobody else has a list of them: indexes cannot be; ${server}`],
    [!resolved.events, `${why}, and nobody is told when they end: events cannot be; ${server}`],
    [
      !resolved.nearCache,
      `${why}, and each request brings its own: nearCache has nothing to keep; leave it out`,
    ],
    [
      !resolved.encryption,
      `${why}, and not in a store that could be read: encryption has nothing to do; leave it out`,
    ],
    [
      resolved.accounts === 1,
      `${why}, and several do not fit into the cookies of one browser: accounts cannot be; ${server}`,
    ],
    [
      !resolved.deviceBound,
      `${why}, and an older copy would prove an older device: deviceBound cannot hold; ${server}`,
    ],
    ...(isRevocable
      ? []
      : ([
          [
            resolved.renewalTimeout === undefined,
            `${why}, and without \`revocation\` an older id serves as before: renewalTimeout would do nothing; give revocation, or leave it out`,
          ],
          [
            given.onReplay === undefined && given.replayWindow === undefined,
            `${why}, and without \`revocation\` no replay is noticed: onReplay and replayWindow would do nothing; give revocation, or leave them out`,
          ],
        ] as const)),
  ];
  return needs.filter(([right]) => !right).map(([, problem]) => problem);
}
