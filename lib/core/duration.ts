/**
 * A length of time: milliseconds as a number, or a number with a unit
 * (`ms`, `s`, `m`, `h`, `d`).
 *
 * @example '30m'
 */
export type Duration = number | `${number}${'ms' | 's' | 'm' | 'h' | 'd'}`;

const UNITS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
const SHAPE = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/;

/** Milliseconds of a duration, `undefined` where the value is none. */
export function toMilliseconds(value: unknown): number | undefined {
  if (typeof value === 'number') return Number.isFinite(value) ? Math.round(value) : undefined;
  const match = typeof value === 'string' ? SHAPE.exec(value) : null;
  if (!match) return undefined;
  return Math.round(Number(match[1]) * UNITS[match[2] as keyof typeof UNITS]);
}

/** A duration in milliseconds as people write it. */
export function toText(milliseconds: number): string {
  const unit = (['d', 'h', 'm', 's'] as const).find((name) => milliseconds % UNITS[name] === 0);
  return unit && milliseconds > 0 ? `${milliseconds / UNITS[unit]}${unit}` : `${milliseconds}ms`;
}
