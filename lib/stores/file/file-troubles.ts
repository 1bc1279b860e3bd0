import { asFailure, codeOf } from './file-failure.js';

/** What is wrong with one folder, and with no other. */
const OF_ONE_FOLDER = new Set([
  'ENOTDIR',
  'EISDIR',
  'EACCES',
  'EPERM',
  'EIO',
  'ELOOP',
  'EBADMSG',
  'EUCLEAN',
]);
/** So many folders are told; where there are more, something else is wrong. */
const MOST = 20;

/** A folder that a walk left out. */
export class Unusable {
  constructor(
    /** Where it is in the directory: digests, or part of one. */
    readonly name: string,
    readonly error: unknown,
  ) {}
}

/** What work in a folder answers, or what is wrong with that folder alone; fails by all else. */
export async function orUnusable<T>(name: string, work: Promise<T>): Promise<T | Unusable> {
  try {
    return await work;
  } catch (error) {
    if (!OF_ONE_FOLDER.has(codeOf(error) ?? '')) throw error;
    return new Unusable(name, error);
  }
}

/** Tells whoever runs the application what no request meets: each thing once. */
export class FileTroubles {
  readonly #told = new Set<string>();
  #isFailing = false;

  constructor(private readonly tell: (message: string) => void) {}

  /** A folder was left out. */
  leftOut({ name, error }: Unusable): void {
    if (this.#told.has(name) || this.#told.size === MOST) return;
    this.#told.add(name);
    const more = this.#told.size === MOST ? ' Further ones are not told.' : '';
    this.tell(`Sessions in files: ${name} is left out: ${messageOf(error)}${more}`);
  }

  /** A round of the sweeper has ended. */
  swept(): void {
    this.#isFailing = false;
  }

  /** A round of the sweeper could not go on; the next ones are not told before one succeeds. */
  notSwept(error: unknown): void {
    if (this.#isFailing) return;
    this.#isFailing = true;
    this.tell(`Sessions in files: what has ended could not be removed: ${messageOf(error)}`);
  }
}

const messageOf = (error: unknown): string => {
  const failure = asFailure(error);
  return failure instanceof Error ? failure.message : String(failure);
};
