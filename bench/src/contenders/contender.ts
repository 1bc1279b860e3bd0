import type { INestApplication, ModuleMetadata } from '@nestjs/common';
import type { IncomingMessage } from 'node:http';
import type { Visit } from '../visit.js';

export type Adapter = 'express' | 'fastify';

/** A request of either adapter, as far as contenders need it. */
export type PeerRequest = {
  readonly headers: IncomingMessage['headers'];
  readonly raw?: IncomingMessage;
  session?: unknown;
};

/** A reply of either adapter, as far as contenders need it. */
export interface PeerReply {
  header(name: string, value: string | string[]): unknown;
}

/** Sessions as one peer does them, in the way its documentation shows. */
export interface PeerSessions {
  /** The visit of an authenticated session, `undefined` for any other. */
  read(request: PeerRequest, reply: PeerReply): Visit | undefined | Promise<Visit | undefined>;
  /** One more visit. */
  change?(request: PeerRequest, reply: PeerReply): Promise<void>;
  login(request: PeerRequest, reply: PeerReply, visit: Visit): Promise<void>;
  logout?(request: PeerRequest, reply: PeerReply): Promise<void>;
  /** All sessions of the user whose session it is. */
  devices?(request: PeerRequest): Promise<readonly object[]>;
}

/** What a contender adds to the application. */
export interface Setup extends ModuleMetadata {
  /** Given to the routes that all peers share; without it the contender has routes of its own. */
  readonly peer?: PeerSessions;
  /** What stands outside of Nest's modules, before the application listens. */
  mount?(app: INestApplication): Promise<void> | void;
  close?(): Promise<void> | void;
  /** Statements that it has sent to a database so far. */
  statements?(): number;
}

/**
 * How a contender is started, in a process of its own.
 *
 * @param place URL of its database, or its directory, for one that keeps its sessions in neither Redis nor a cookie
 */
export type Start = (redisUrl: string, adapter: Adapter, place: string) => Promise<Setup> | Setup;

/** All sessions of the comparison end after this much idleness, in milliseconds. */
export const IDLE = 1_800_000;
export const SECRET = '9hyl4F9TeD/u+aRDRNbgNZ9qQRPo2C0UbxiS4IxDnl0=';
