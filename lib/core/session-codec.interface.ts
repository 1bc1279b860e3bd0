/**
 * Turns the application's part of a record into text and back. `encode(decode(text))` must give
 * the same text again: a difference is how a changed session is recognised.
 *
 * Implement it to store values that JSON cannot hold.
 */
export interface SessionCodec {
  /** @throws SessionSerializationError (`SESSION_NOT_SERIALIZABLE`) rather than lose a value */
  encode(data: Record<string, unknown>): string;
  /** @throws anything for text that it cannot read; the record then counts as damaged */
  decode(text: string): Record<string, unknown>;
}
