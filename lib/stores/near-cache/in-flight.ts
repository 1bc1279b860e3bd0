import type { LoadedValue } from '../../core/session-store.interface.js';

/** Something that was sent to the store, and that is not known yet to have left a copy that is right. */
export interface Flight {
  /** Nothing was told of the session since it began. */
  readonly isAhead: boolean;
  end(): void;
}

/** What a read that is under way does, or what is asked of it. */
export interface Done {
  /** It moves the idle window. */
  readonly touches: boolean;
  /** It tells how long that still is. */
  readonly tells: boolean;
}

/** A read that is under way, for who goes along with it. */
export interface SharedRead {
  readonly reply: Promise<LoadedValue | undefined>;
  readonly does: Done;
  /** The count that whoever asked had seen. */
  readonly floor: number;
}

interface Course {
  count: number;
  changes: number;
  /** A read that whoever asks now may share. */
  read: SharedRead | undefined;
}

/**
 * What is under way between a near cache and its store. A change that is told while a read is under way may have been made
 * before or after it: what was read is not kept then.
 */
export class InFlight {
  readonly #courses = new Map<string, Course>();

  begin(handle: string): Flight {
    const course = this.#courses.get(handle) ?? { count: 0, changes: 0, read: undefined };
    this.#courses.set(handle, course);
    course.count++;
    const { changes } = course;
    return {
      get isAhead() {
        return course.changes === changes;
      },
      end: () => {
        if (--course.count === 0) this.#courses.delete(handle);
      },
    };
  }

  /**
   * The read that is under way, if it does as much.
   *
   * @param asked what whoever asks needs
   */
  shared(handle: string, asked: Done): SharedRead | undefined {
    const read = this.#courses.get(handle)?.read;
    if (!read) return undefined;
    const { touches, tells } = read.does;
    const isEnough = (touches || !asked.touches) && (tells || !asked.tells);
    return isEnough ? read : undefined;
  }

  /** Whoever asks before it ends, or something changes, shares it. */
  share(handle: string, read: SharedRead): void {
    const course = this.#courses.get(handle);
    if (course) course.read = read;
  }

  /** It has ended: who comes now asks anew, whatever else is under way. */
  unshare(handle: string, reply: SharedRead['reply']): void {
    const course = this.#courses.get(handle);
    if (course?.read?.reply === reply) course.read = undefined;
  }

  /** A session was changed: what is under way may be from before. `true` if there is something. */
  changed(handle: string): boolean {
    const course = this.#courses.get(handle);
    if (!course) return false;
    course.changes++;
    course.read = undefined;
    return true;
  }

  /** All of them may have been changed. */
  allChanged(): void {
    for (const handle of this.#courses.keys()) this.changed(handle);
  }
}
