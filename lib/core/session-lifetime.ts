import { isLasting } from './session-id.js';
import type { RecentSessions } from './store-failure.js';

/** When a session ends, in milliseconds. */
export interface Timeouts {
  readonly idleTimeout: number;
  readonly absoluteTimeout: number;
}

/** When sessions end and how often that is moved; all in milliseconds. */
export interface SessionLifetimeOptions extends Timeouts {
  readonly touchAfter: number;
  /** Of lasting sessions. @default as of all others */
  readonly rememberMe?: Timeouts;
  /** How long an id serves before its session gets another one. @default as long as the session lives */
  readonly renewalTimeout?: number | undefined;
}

/** Since when a session has its id: since it began, or since a renewal. */
interface IdAge {
  readonly createdAt: number;
  readonly idSince?: number | undefined;
}

/** Beyond this many remembered touches the oldest half is forgotten; they are then due again. */
const REMEMBERED = 100_000;

/** The timeouts, and this node's memory of sessions: when it last touched which, and what it has seen. */
export class SessionLifetime {
  #touches = new Map<string, number>();
  #olderTouches = new Map<string, number>();
  /** Absolute ends that come before the idle window would end. */
  readonly #ends = new Map<string, number>();

  constructor(
    private readonly options: SessionLifetimeOptions,
    readonly recent?: RecentSessions,
  ) {}

  /** The idle window of a session; of one that has no handle yet, the usual. */
  idleTimeout(handle?: string): number {
    return this.#of(handle !== undefined && isLasting(handle)).idleTimeout;
  }

  get lastingIdleTimeout(): number {
    return this.#of(true).idleTimeout;
  }

  absoluteEnd(now: number, lasting = false): number {
    return now + this.#of(lasting).absoluteTimeout;
  }

  /** How long a record may stay in the store: to the nearer of idle and absolute end. */
  timeToLive(now: number, absoluteEnd: number, handle: string): number {
    return Math.max(1, Math.min(this.idleTimeout(handle), absoluteEnd - now));
  }

  /** True if the idle window is to be moved now, false if this node did so just before. */
  isTouchDue(handle: string, now: number): boolean {
    if (this.options.touchAfter === 0) return true;
    const touched = this.lastTouch(handle);
    return touched === undefined || now - touched >= this.options.touchAfter || now < touched;
  }

  /** True if a session is to get another id. */
  isRenewalDue({ createdAt, idSince = createdAt }: IdAge, now: number): boolean {
    const { renewalTimeout } = this.options;
    return renewalTimeout !== undefined && now - idSince >= renewalTimeout;
  }

  /** How long the idle window is that starts now, as far as this node knows the session. */
  windowOf(handle: string, now: number): number {
    return this.timeToLive(now, this.#ends.get(handle) ?? Infinity, handle);
  }

  /** The session ends before its idle window. */
  endsAt(handle: string, absoluteEnd: number): void {
    if (this.#ends.size >= REMEMBERED / 2) this.#ends.clear();
    this.#ends.set(handle, absoluteEnd);
  }

  /** Until when a session lives, as far as this node has moved its idle window. */
  knownIdleEnd(handle: string): number | undefined {
    const touched = this.lastTouch(handle);
    if (touched === undefined) return undefined;
    return Math.min(touched + this.idleTimeout(handle), this.#ends.get(handle) ?? Infinity);
  }

  lastTouch(handle: string): number | undefined {
    return this.#touches.get(handle) ?? this.#olderTouches.get(handle);
  }

  touched(handle: string, now: number): void {
    if (this.#touches.size >= REMEMBERED / 2) {
      this.#olderTouches = this.#touches;
      this.#touches = new Map();
    }
    this.#touches.set(handle, now);
  }

  /** The idle window was not moved after all: it is due again. */
  forgetTouch(handle: string): void {
    this.#touches.delete(handle);
    this.#olderTouches.delete(handle);
  }

  /** @param endedAt when it was ended here, or went on under another handle */
  forget(handle: string, endedAt?: number): void {
    this.forgetTouch(handle);
    this.#ends.delete(handle);
    this.recent?.forget(handle, endedAt);
  }

  #of(lasting: boolean): Timeouts {
    return (lasting && this.options.rememberMe) || this.options;
  }
}

/**
 * When a session was last used, from when its idle window ends; a window that the absolute end cut short
 * tells nothing.
 */
export function lastAccessOf(
  { savedAt, absoluteEnd }: { readonly savedAt: number; readonly absoluteEnd: number },
  idleEnd: number,
  idleTimeout: number,
): number {
  return idleEnd >= absoluteEnd ? savedAt : Math.max(savedAt, idleEnd - idleTimeout);
}
