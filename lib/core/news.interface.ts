/** What is told in the same step as a change, if the change is made. */
export interface News {
  /** What happened, in one line; absent: nothing is told. */
  readonly message?: string | undefined;
  /**
   * `'provisional'`: it is written down and not told, since a later step tells it; `'withdrawn'`: that step
   * was not made. @default 'told'
   */
  readonly kind?: NewsKind | undefined;
  /** What is told of the session from now on, also when it ends by time, in one line; absent: as before. */
  readonly notice?: string | undefined;
  /** It goes on under this handle, of which is told; what is under its own is no session any more. */
  readonly goesOnAs?: string | undefined;
  /** What is told of sessions that give way to it. */
  readonly gaveWay?: string | undefined;
}

export type NewsKind = 'told' | 'provisional' | 'withdrawn';
