import type { Finding } from './finding.js';
import type { ServerFacts } from './server-facts.js';

/** Milliseconds by which clocks may differ before it is worth saying. */
const NOTICED = 1_000;
/** Beyond this timeouts are plainly wrong; the library itself warns at boot. */
const WRONG = 60_000;

/** Clocks of servers against this machine's, and against each other. */
export function checkClocks(servers: readonly ServerFacts[]): Finding[] {
  const known = servers.flatMap(({ where, clock }) => (clock ? [{ where, ...clock }] : []));
  const findings: Finding[] = [];
  for (const { where, ahead, within } of known) {
    const off = Math.abs(ahead) - within;
    if (off < NOTICED) continue;
    const which = ahead > 0 ? 'ahead of' : 'behind';
    findings.push(
      skew(`the clock of ${where} is ${spoken(ahead)} ${which} that of this machine`, off),
    );
  }
  const [earliest, ...rest] = known.sort((one, other) => one.ahead - other.ahead);
  const latest = rest.at(-1);
  if (!earliest || !latest) return findings;
  const apart = latest.ahead - earliest.ahead - latest.within - earliest.within;
  if (apart < NOTICED) return findings;
  const between = `the clocks of ${earliest.where} and ${latest.where} are ${spoken(apart)} apart`;
  return [...findings, skew(between, apart)];
}

const skew = (seen: string, off: number): Finding => ({
  code: 'CLOCK_SKEW',
  severity: off >= WRONG ? 'error' : 'warning',
  seen,
  why: 'absolute timeouts, the age of logins and what is told of expired sessions are wrong by as much',
  remedy:
    'synchronise the clocks: chrony or systemd-timesyncd on each machine (timedatectl set-ntp true)',
});

const spoken = (ms: number): string => {
  const seconds = Math.round(Math.abs(ms) / 1_000);
  return seconds < 120 ? `${seconds} s` : `${Math.round(seconds / 60)} min`;
};
