/** When sessions end and how often that is moved; all in milliseconds. */
export interface SessionLifetimeOptions {
  readonly idleTimeout: number;
  readonly absoluteTimeout: number;
  readonly touchAfter: number;
}

/** Beyond this many remembered touches the oldest half is forgotten; they are then due again. */
const REMEMBERED = 100_000;

/** The timeouts, and this node's memory of when it last touched which session. */
export class SessionLifetime {
  #touches = new Map<string, number>();
  #olderTouches = new Map<string, number>();

  constructor(private readonly options: SessionLifetimeOptions) {}

  get idleTimeout(): number {
    return this.options.idleTimeout;
  }

  absoluteEnd(now: number): number {
    return now + this.options.absoluteTimeout;
  }

  /** How long a record may stay in the store: to the nearer of idle and absolute end. */
  timeToLive(now: number, absoluteEnd: number): number {
    return Math.max(1, Math.min(this.options.idleTimeout, absoluteEnd - now));
  }

  /** True if the idle window is to be moved now, false if this node did so just before. */
  isTouchDue(handle: string, now: number): boolean {
    if (this.options.touchAfter === 0) return true;
    const touched = this.lastTouch(handle);
    return touched === undefined || now - touched >= this.options.touchAfter || now < touched;
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

  forget(handle: string): void {
    this.#touches.delete(handle);
    this.#olderTouches.delete(handle);
  }
}
