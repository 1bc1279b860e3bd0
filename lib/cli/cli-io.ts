import type { Readable, Writable } from 'node:stream';

/** What a program has of the outside: given, so that it can be run anywhere. */
export interface CliIo {
  /** What was asked for, and nothing else. */
  readonly stdout: Writable & { readonly isTTY?: boolean };
  /** What is said beside: questions, progress, errors. */
  readonly stderr: Writable & { readonly isTTY?: boolean };
  readonly stdin: Readable & { readonly isTTY?: boolean };
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** How a program ends. */
export const EXIT = {
  /** All is well. */
  fine: 0,
  /** It was done and something was found, or it failed. */
  failed: 1,
  /** It was not understood, and nothing was done. */
  usage: 2,
  /** It was done, and replicas have not confirmed it. */
  unconfirmed: 3,
} as const;

/** Something that was asked for in a way that cannot be carried out: exit code 2. */
export class CliUsageError extends Error {
  readonly code = 'CLI_USAGE';
}

/** Something that was understood and could not be done: exit code 1. */
export class CliFailedError extends Error {
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

/** Something that was done, and that replicas have not confirmed as was asked for: exit code 3. */
export class CliUnconfirmedError extends CliFailedError {
  /** @param done what `--json` tells of it beside the error */
  constructor(
    readonly done: object,
    message: string,
  ) {
    super('SESSION_UNCONFIRMED', message);
  }
}
