import type { IncomingRequest } from './raw-transport-request.js';
import type { SessionLaneParts } from './session-lane.js';

/** A session that a connection goes by. */
export interface ConnectedSession {
  readonly id: string;
  readonly principal: string | undefined;
  /** The device that it is bound to, if the connection has proven that it comes from there. */
  readonly device: string | undefined;
}

/** The request that a connection which stays open began with, and the sessions that it goes by. */
export class OpenConnection {
  /** What the sessions are called by now, in memory only: ids are renewed over HTTP meanwhile. */
  readonly sessions = new Map<SessionLaneParts, ConnectedSession>();

  constructor(
    readonly request: IncomingRequest,
    /** In milliseconds since the epoch: what was valid then is no replay later. */
    readonly arrivedAt: number,
  ) {}
}

/** What browsers say by themselves, or nobody: it counts only as a header. */
const BY_BROWSER = /^(?:cookie|origin|host|user-agent|x-forwarded-.*|sec-.*)$/;

/** A handshake, and what the client could not send as headers of it: browsers let no script set any. */
export class ConnectionRequest implements IncomingRequest {
  readonly #parameters: ReadonlyMap<string, string>;

  constructor(
    private readonly handshake: IncomingRequest,
    parameters: unknown,
  ) {
    const given = Object.entries((parameters ?? {}) as Record<string, unknown>);
    this.#parameters = new Map(
      given.flatMap(([name, value]) =>
        typeof value === 'string' && !BY_BROWSER.test(name.toLowerCase())
          ? [[name.toLowerCase(), value]]
          : [],
      ),
    );
  }

  get method(): string {
    return this.handshake.method;
  }

  get origin(): string | undefined {
    return this.handshake.origin;
  }

  get secure(): boolean {
    return this.handshake.secure;
  }

  get address(): string | undefined {
    return this.handshake.address;
  }

  header(name: string): string | undefined {
    return this.handshake.header(name) ?? this.#parameters.get(name);
  }
}
