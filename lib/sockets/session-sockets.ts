import { Inject, Injectable } from '@nestjs/common';
import { SessionEvents } from '../events/session-events.js';
import { SocketHost } from './socket-host.js';

/** Which sessions are meant. */
export interface PrincipalSocketsOptions {
  /** Name of the sessions, if they are not those of `forRoot`. */
  name?: string | undefined;
}

/** All sockets of a principal. */
export interface PrincipalSockets {
  /**
   * Sends an event to all of them, on all nodes; those that are not connected now miss it.
   *
   * @throws SessionUnavailableError (`SESSION_UNAVAILABLE`) without the option `events`
   */
  emit(event: string, data?: unknown): Promise<void>;
}

/**
 * The sockets of gateways, by whose session they were opened with. Needs `SessionWsAdapter` or
 * `SessionIoAdapter`.
 *
 * @example
 * constructor(private readonly sockets: SessionSockets) {}
 * paid(order: Order) { return this.sockets.toPrincipal(order.customer).emit('paid', { id: order.id }); }
 */
@Injectable()
export class SessionSockets {
  constructor(
    @Inject(SocketHost) private readonly host: SocketHost,
    @Inject(SessionEvents) private readonly events: SessionEvents,
  ) {}

  /** How many sockets are open on this node, those of nobody included. */
  count(): number {
    return this.host.count;
  }

  /** The sockets of a principal that are open on this node, as the platform knows them. */
  ofPrincipal<Socket extends object = object>(
    principal: string,
    { name }: PrincipalSocketsOptions = {},
  ): Socket[] {
    return this.host.ofPrincipal(principal, name).map(({ client }) => client as Socket);
  }

  /** Whose session an open socket of this node was opened with; such as for `handleConnection(client)`. */
  principalOf(client: object, { name }: PrincipalSocketsOptions = {}): string | undefined {
    return this.host.principalOf(client, name);
  }

  /** All sockets of a principal, on whatever node. */
  toPrincipal(principal: string, { name }: PrincipalSocketsOptions = {}): PrincipalSockets {
    return { emit: (event, data) => this.events.callPrincipal(principal, event, data, name) };
  }
}
