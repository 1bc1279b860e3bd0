/** Session ids that any client of this test file was given. */
const issued = new Set<string>();

/** Remembers a token that an application sent to its client. */
export function noteToken(token: string | undefined): void {
  const id = /^(?:session=")?([\w-]{44})(?![\w-])/.exec(token ?? '')?.[1];
  if (id !== undefined) issued.add(id);
}

/** How many ids could have leaked: a check that knows none proves nothing. */
export const issuedIds = (): number => issued.size;

/** Fails if a session id stands in one of the texts: nobody but its client may see it. */
export function expectNoIds(place: string, texts: Iterable<string>): void {
  for (const text of texts) {
    for (const [run] of text.matchAll(/[\w-]{44,}/g)) {
      for (let at = 0; at + 44 <= run.length; at++) {
        if (!issued.has(run.slice(at, at + 44))) continue;
        throw new Error(`${place} tells a session id: ${text.slice(0, 500)}`);
      }
    }
  }
}
