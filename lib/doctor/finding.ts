/** How bad it is: sessions are or will be lost or open; that may come; worth knowing. */
export type Severity = 'error' | 'warning' | 'hint';

/** Something that is wrong for sessions, and what to do about it. */
export interface Finding {
  /** Stays the same from version to version. */
  readonly code: string;
  readonly severity: Severity;
  /** What was seen, and where. Never an id, a handle or data. */
  readonly seen: string;
  /** Why it matters. */
  readonly why: string;
  /** The command or the option that mends it. */
  readonly remedy: string;
}

export const isError = ({ severity }: Finding): boolean => severity === 'error';
