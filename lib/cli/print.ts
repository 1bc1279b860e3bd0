import picocolors from 'picocolors';
import type { Writable } from 'node:stream';

/** Colours, or none. */
export type Colors = ReturnType<typeof picocolors.createColors>;

const PLAIN = picocolors.createColors(false);

type Environment = Readonly<Record<string, string | undefined>>;

/** None where nobody sees them, nor where they are not wanted (https://no-color.org). */
export function colorsFor(to: Writable & { readonly isTTY?: boolean }, env: Environment): Colors {
  const wanted = env.FORCE_COLOR !== undefined && env.FORCE_COLOR !== '0';
  const unwanted = env.NO_COLOR !== undefined && env.NO_COLOR !== '';
  return picocolors.createColors(!unwanted && (wanted || to.isTTY === true));
}

/** Rows as a table: the first are its headings. */
export function table(rows: readonly (readonly string[])[], { bold }: Colors = PLAIN): string {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)));
  const lines = rows.map((row) =>
    row
      .map((cell, i) => cell.padEnd(widths[i] as number))
      .join('  ')
      .trimEnd(),
  );
  return [bold(lines[0] ?? ''), ...lines.slice(1)].join('\n');
}

/** Names and values, one a line. */
export function facts(
  pairs: readonly (readonly [string, string])[],
  { bold }: Colors = PLAIN,
): string {
  const width = Math.max(...pairs.map(([name]) => name.length));
  return pairs.map(([name, value]) => `${bold(name.padEnd(width))}  ${value}`).join('\n');
}

/** A moment as everybody reads it; nothing for none. */
export const instant = (at: number | undefined): string =>
  at === undefined ? '–' : new Date(at).toISOString().replace(/\.\d+Z$/, 'Z');

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

/** A number of bytes as people read it. */
export function bytes(count: number): string {
  const power = count < 1 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log2(count) / 10));
  const value = count / 1_024 ** power;
  return `${power === 0 ? value : value.toFixed(1)} ${UNITS[power]}`;
}

/** What came from a store or a network, without what a terminal would obey. */
// eslint-disable-next-line no-control-regex
export const tame = (text: string): string => text.replace(/[\u0000-\u001f\u007f-\u009f]/g, '?');
