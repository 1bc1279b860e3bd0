import type { Range } from '../statistics.js';

/** With spaces between thousands. */
export const number = (value: number, digits: number): string =>
  value
    .toFixed(digits)
    .replace(/\B(?=(\d{3})+(?!\d))/g, ' ')
    .replace('-0', '0');

/** Median, and the range of the rounds. */
export const range = ({ median, min, max }: Range, digits = 0): string =>
  `${number(median, digits)} (${number(min, digits)}–${number(max, digits)})`;

export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}
