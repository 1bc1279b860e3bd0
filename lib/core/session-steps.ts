import type { SessionObserver } from './session-observer.interface.js';
import type { SessionState } from './session-state.js';

/** What an observer sees of the way of a request: each part once, however many wait for it. */
export class SessionSteps {
  constructor(
    private readonly observer: SessionObserver | undefined,
    private readonly realm: string | undefined,
  ) {}

  load(state: SessionState, run: () => Promise<void>): Promise<void> {
    // Who comes later shares it.
    if (!this.observer || state.loading) return run();
    return this.#step(
      'session.load',
      () => state.outage ?? (state.record ? 'found' : 'absent'),
      run,
    );
  }

  touch(run: () => Promise<void>): Promise<void> {
    return this.#step('session.touch', () => 'ok', run);
  }

  commit(run: () => Promise<boolean>): Promise<boolean> {
    return this.#step('session.commit', (lives) => (lives ? 'ok' : 'ended'), run);
  }

  #step<T>(
    name: string,
    outcomeOf: (result: unknown) => string,
    run: () => Promise<T>,
  ): Promise<T> {
    if (!this.observer) return run();
    return this.observer.step({ name, realm: this.realm, outcomeOf }, run);
  }
}
