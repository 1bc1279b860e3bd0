import { afterAll, describe, it } from '@jest/globals';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describeSessionStore, FakeClock } from 'nestjs-distributed-session/testing';
import { TestDirectories } from '../support/file-directory.js';

const runner = { describe, it };
const toggles = { indexes: false, news: false, fence: false };

describe('in files', () => {
  const directories = new TestDirectories();
  afterAll(() => directories.remove());

  describeSessionStore('FileSessionStore', {
    runner,
    create: async () => directories.open({ directory: await directories.make() }),
    unreachable: async () => {
      const file = join(await directories.make(), 'no-directory');
      writeFileSync(file, '');
      return directories.open({ directory: join(file, 'sessions') });
    },
    toggles,
  });

  describe('by a clock of its own, and on the disk', () => {
    const clock = new FakeClock();
    describeSessionStore('FileSessionStore', {
      runner,
      create: async () => {
        const now = () => clock.now();
        return directories.open({ directory: await directories.make(), durable: true, now });
      },
      advance: (milliseconds) => clock.advance(milliseconds),
      toggles,
    });
  });
});
