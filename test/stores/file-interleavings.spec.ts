import { afterAll, describe, expect, it } from '@jest/globals';
import assert from 'node:assert/strict';
import { renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { handleOf, newSessionId } from '../../lib/core/session-id.js';
import { nextVersion, versionOf } from '../../lib/core/session-record.js';
import { FileDirectory } from '../../lib/stores/file/file-directory.js';
import type { SessionFolder } from '../../lib/stores/file/session-folder.js';
import {
  nameOf,
  newToken,
  stateOf,
  type SessionState,
} from '../../lib/stores/file/session-state.js';
import { bodyIn, bodyOf } from '../support/file-body.js';
import { TestDirectories } from '../support/file-directory.js';

const ROUNDS = 200;
const STEPS = 60;
const ACTORS = 5;

/** What the folder must hold, told by which steps succeeded. */
interface Model {
  state: SessionState | undefined;
  value: string | undefined;
  begun: number;
}

type Steps = AsyncGenerator<undefined, void>;

/** Numbers that a seed tells again. */
function numbersFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1_664_525 + 1_013_904_223) % 2 ** 32;
    return state / 2 ** 32;
  };
}

const write = (count: number, previous?: string) =>
  `${nextVersion(previous && versionOf(previous))}1${bodyOf(count)}`;

/** One after the other in any order, each ended at any of its steps: no lock, so nobody waits. */
class Play {
  readonly model: Model = { state: undefined, value: undefined, begun: 0 };
  #count = 0;

  constructor(
    private readonly directory: FileDirectory,
    private readonly folder: SessionFolder,
    private readonly random: () => number,
  ) {}

  actor(): Steps {
    const chosen = Math.floor(this.random() * 5);
    if (chosen < 2) return this.#save();
    if (chosen === 2) return this.#touch();
    return chosen === 3 ? this.#end() : this.#begin();
  }

  /** What can be read is what was written last, whole. */
  async check(): Promise<void> {
    const listing = await this.folder.list();
    const { state, value } = this.model;
    assert.equal(listing?.state && nameOf(listing.state), state && nameOf(state));
    if (!listing?.state) return;
    const found = await this.folder.read(listing.state);
    assert.equal(bodyIn(found as string), bodyIn(value as string));
  }

  async *#save(): Steps {
    const listing = await this.folder.list();
    if (!listing?.state) return;
    const previous = await this.folder.read(listing.state);
    yield;
    if (previous === undefined) return;
    const [token, value] = [newToken(), write(++this.#count, previous)];
    const next = stateOf(value, 1e12, token, listing.state);
    const isWritten = await this.folder.write(value, token);
    yield;
    if (!isWritten) return;
    const wins = this.#isCurrent(listing.state);
    if (this.random() < 0.1) {
      // Ended behind the step that counts.
      if (!wins) return;
      renameSync(
        join(this.folder.path, nameOf(listing.state)),
        join(this.folder.path, nameOf(next)),
      );
      return this.#now(next, value);
    }
    assert.equal(await this.folder.swap(listing, next), wins);
    if (wins) return this.#now(next, value);
    yield;
    assert.equal(await this.folder.takeBack(token), true);
  }

  async *#touch(): Steps {
    const listing = await this.folder.list();
    yield;
    if (!listing?.state) return;
    const next = { ...listing.state, step: listing.state.step + 1, endsAt: 1e12 + this.#count };
    const wins = this.#isCurrent(listing.state);
    assert.equal(await this.folder.swap(listing, next), wins);
    if (wins) this.#now(next, this.model.value);
  }

  async *#end(): Steps {
    const listing = await this.folder.list();
    yield;
    if (!listing?.state) {
      if (listing) await this.folder.clear(listing.names);
      return;
    }
    const wins = this.#isCurrent(listing.state);
    if (wins && this.random() < 0.3) {
      rmSync(join(this.folder.path, nameOf(listing.state)));
    } else {
      assert.equal(await this.folder.end(listing), wins);
    }
    if (wins) this.#now(undefined, undefined);
  }

  async *#begin(): Steps {
    const listing = await this.folder.list();
    yield;
    if (listing?.state) return;
    if (listing) await this.folder.clear(listing.names);
    yield;
    const value = write(++this.#count);
    const state = stateOf(value, 1e12, newToken());
    const isFree = this.model.state === undefined;
    const isPlaced = await this.directory.begin(this.folder, value, state);
    if (isPlaced) assert.equal(isFree, true);
    if (isPlaced) this.#now(state, value);
    if (isPlaced) this.model.begun++;
  }

  #isCurrent(state: SessionState): boolean {
    return this.model.state !== undefined && nameOf(this.model.state) === nameOf(state);
  }

  #now(state: SessionState | undefined, value: string | undefined): void {
    Object.assign(this.model, { state, value });
  }
}

describe('steps of several writers in any order, some ended in between', () => {
  const directories = new TestDirectories();
  afterAll(() => directories.remove());

  it(`never lose what is current, nor bring back what was: ${ROUNDS} plays`, async () => {
    const root = await directories.make();
    const directory = new FileDirectory({ directory: root, create: true, durable: false });
    await directory.ready();
    const seed = Math.floor(Math.random() * 2 ** 31);
    let begun = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const random = numbersFrom(seed + round);
      const play = new Play(directory, directory.folderOf(handleOf(newSessionId())), random);
      const actors: Steps[] = [];
      for (let step = 0; step < STEPS; step++) {
        while (actors.length < ACTORS) actors.push(play.actor());
        const index = Math.floor(random() * ACTORS);
        const done = (await actors[index]?.next())?.done;
        if (done || random() < 0.05) actors.splice(index, 1);
        await play.check().catch((error: unknown) => {
          throw new Error(`seed ${seed + round}, step ${step}`, { cause: error });
        });
      }
      begun += play.model.begun;
    }
    // Enough of them did not merely find nothing.
    expect(begun).toBeGreaterThan(ROUNDS);
  });
});
