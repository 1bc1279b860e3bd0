import cliProgress from 'cli-progress';
import type { CliIo } from './cli-io.js';

/** How far something is. */
export interface Progress {
  /** So much is done by now. */
  at(done: number): void;
  /** There is more, or less, to do than was thought. */
  total(total: number): void;
  /** To be called, or the cursor stays hidden and the program never ends; again it does nothing. */
  end(): void;
}

const NONE: Progress = { at: () => undefined, total: () => undefined, end: () => undefined };

/** A bar where there is a terminal, and nothing elsewhere. */
export function startProgress({ stderr, env }: CliIo, title: string, total: number): Progress {
  if (!stderr.isTTY || env.TERM === 'dumb') return NONE;
  const bar = new cliProgress.SingleBar(
    {
      stream: stderr,
      format: `${title} {bar} {percentage}% | {value}/{total} | {eta_formatted}`,
      hideCursor: true,
    },
    cliProgress.Presets.shades_classic,
  );
  bar.start(total, 0);
  return {
    at: (done) => bar.update(done),
    total: (all) => bar.setTotal(all),
    end: () => bar.stop(),
  };
}
