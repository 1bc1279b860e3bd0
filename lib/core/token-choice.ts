import type { RejectionListener } from './rejection.js';
import type { SessionIdSigner, VerifiedToken } from './session-id-signer.interface.js';

/** More tokens than any browser sends are not looked at: each costs a signature. */
export const MAX_TOKENS = 16;

/** Of several tokens only a single id may prove right; which of two was meant is not guessed. */
export function chosenToken(
  tokens: readonly string[],
  signer: SessionIdSigner,
  onRejected: RejectionListener | undefined,
): VerifiedToken | undefined {
  if (tokens.length === 0) return undefined;
  if (tokens.length > MAX_TOKENS) {
    onRejected?.('ambiguous');
    return undefined;
  }
  let found: VerifiedToken | undefined;
  for (const token of tokens) {
    const verified = signer.verify(token);
    if (!verified) continue;
    if (found && found.id !== verified.id) {
      onRejected?.('ambiguous');
      return undefined;
    }
    // The same id comes twice where two cookies have its name: what its client has seen is the most of both.
    if (!found || (verified.seen ?? 0) >= (found.seen ?? 0)) found = verified;
  }
  if (!found) onRejected?.('malformed');
  return found;
}
