/** A body that tells whether it is whole: a count, written many times. */
export const bodyOf = (count: number): string => `${`${count};`.repeat(400)}.`;

/** The count in a value; fails if it is torn or mixed. */
export function bodyIn(value: string): number {
  const body = value.slice(15);
  const count = parseInt(body, 10);
  if (body !== bodyOf(count)) throw new Error('a torn value was read');
  return count;
}
