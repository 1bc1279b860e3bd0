/** What kind of proof a factor is; names of RFC 8176, and those in common use. */
const KINDS = new Map(
  Object.entries({
    pwd: 'knowledge',
    password: 'knowledge',
    pin: 'knowledge',
    kba: 'knowledge',
    otp: 'possession',
    totp: 'possession',
    hotp: 'possession',
    sms: 'possession',
    tel: 'possession',
    push: 'possession',
    pop: 'possession',
    swk: 'possession',
    hwk: 'possession',
    sc: 'possession',
    webauthn: 'possession',
    passkey: 'possession',
    face: 'biometric',
    fpt: 'biometric',
    iris: 'biometric',
    retina: 'biometric',
    vbm: 'biometric',
  }),
);

/** Keys that cannot leave their hardware. */
const HARDWARE = ['hwk', 'sc'];

/**
 * The authenticator assurance level (NIST SP 800-63B) that factors amount to: 2 for two kinds of proof, or
 * `mfa`; 3 if one of them is a key in hardware; else 1. Two factors of one kind, such as a password and a
 * PIN, are one, and a name that is not known proves nothing beyond level 1.
 */
export function assuranceOf(factors: readonly string[]): number {
  const kinds = new Set(factors.flatMap((factor) => KINDS.get(factor) ?? []));
  if (kinds.size < 2) return factors.includes('mfa') ? 2 : 1;
  return factors.some((factor) => HARDWARE.includes(factor)) ? 3 : 2;
}
