import type { LoadedValue } from '../../core/session-store.interface.js';

/** Something that was sent to the store, and that is not known yet to have left a copy that is right. */
export interface Flight {
  /** Nothing was told of the session since it began. */
  readonly isAhead: boolean;
  end(): void;
}

interface Course {
  count: number;
  changes: number;
  /** A read that whoever asks now may share. */
  read: Promise<LoadedValue | undefined> | undefined;
  /** That one moves the idle window. */
  touches: boolean;
}

/**
 * What is under way between a near cache and its store. A change that is told while a read is under way may have been made
 * before or after it: what was read is not kept then.
 */
export class InFlight {
  readonly #courses = new Map<string, Course>();

  begin(handle: string): Flight {
    const course = this.#courses.get(handle) ?? {
      count: 0,
      changes: 0,
      read: undefined,
      touches: false,
    };
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
   * @param touch whoever asks is to move the idle window
   */
  shared(handle: string, touch: boolean): Promise<LoadedValue | undefined> | undefined {
    const course = this.#courses.get(handle);
    return course && (course.touches || !touch) ? course.read : undefined;
  }

  /** Whoever asks before it ends, or something changes, shares it. */
  share(handle: string, read: Promise<LoadedValue | undefined>, touches: boolean): void {
    const course = this.#courses.get(handle);
    if (course) Object.assign(course, { read, touches });
  }

  /** It has ended: who comes now asks anew, whatever else is under way. */
  unshare(handle: string, read: Promise<LoadedValue | undefined>): void {
    const course = this.#courses.get(handle);
    if (course?.read === read) course.read = undefined;
  }

  /** A session was changed: what is under way may be from before. */
  changed(handle: string): void {
    const course = this.#courses.get(handle);
    if (!course) return;
    course.changes++;
    course.read = undefined;
  }

  /** All of them may have been changed. */
  allChanged(): void {
    for (const handle of this.#courses.keys()) this.changed(handle);
  }
}
