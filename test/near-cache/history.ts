/** What one may write to a session: a count, and the number of its grants. Both only grow. */
export type Register = 'count' | 'grants';

/** A value that was written, and told to be. */
export interface Write {
  readonly register: Register;
  readonly value: number;
  /** When it was sent, and when its sender knew that it was done. */
  readonly begin: number;
  readonly acked: number;
  readonly node: number;
}

/** What was to end a session; not `acked`: it may have, and may not. */
export interface Ending {
  readonly begin: number;
  readonly acked?: number;
  readonly node?: number;
}

/** A request that was done for somebody who is logged in, with what it has seen if it told that; or told that nobody is. */
export interface Read {
  readonly kind: 'near' | 'strong';
  readonly node: number;
  readonly begin: number;
  readonly end: number;
  readonly status: number;
  readonly seen: Readonly<Record<Register, number>> | undefined;
  /** The highest count that was told to this browser before it sent the request. */
  readonly own: number;
}

/** What became of one login. */
export class Line {
  readonly writes: Write[] = [];
  readonly endings: Ending[] = [];
  readonly reads: Read[] = [];
  /** When it was sent that the count be raised, whether it was or not. */
  readonly raises: number[] = [];
  /** When the login was told to be done. */
  acked = Infinity;
  /** As was told last. */
  handle = '';
  /** Somebody was told that nobody is logged in. */
  refused = false;

  constructor(readonly principal: string) {}

  /** Something has been sent that may end it. */
  get mayHaveEnded(): boolean {
    return this.refused || this.endings.length > 0;
  }
}

/** What is wrong with a history, in words, and what is allowed within bounds, in milliseconds. */
export class Findings {
  /** A browser has not seen what it had written itself. */
  readonly ownMissed: string[] = [];
  /** A `strong` read is older than a write that was done before it, or serves who was logged out. */
  readonly strongStale: string[] = [];
  /** A `near` read does so on the very node that has done it. */
  readonly sameNodeStale: string[] = [];
  /** A count was written that is told to be there, and is not in it. */
  readonly lost: string[] = [];
  /** More was seen than was written: where replies are lost a raise may be done twice, by who tries again. */
  readonly ahead: string[] = [];
  /** Refused, though nobody had logged them out. */
  readonly loggedOut: string[] = [];
  /** Of each `near` read: for how long what it served had been superseded, or ended. */
  readonly staleness: number[] = [];
  /** Of those that served somebody who was logged out: for how long they were. */
  readonly afterEnd: number[] = [];
  reads = 0;
  /** Requests that were answered 503. */
  outages = 0;

  constructor(lines: readonly Line[]) {
    for (const line of lines) new LineCheck(line, this).run();
    this.staleness.sort((a, b) => a - b);
    this.afterEnd.sort((a, b) => a - b);
  }

  get wrong(): Record<string, string[]> {
    const { ownMissed, strongStale, sameNodeStale, lost, loggedOut } = this;
    const few = (all: string[]) => all.slice(0, 5);
    return {
      ownMissed: few(ownMissed),
      strongStale: few(strongStale),
      sameNodeStale: few(sameNodeStale),
      lost: few(lost),
      loggedOut: few(loggedOut),
    };
  }

  /** That of all `near` reads but one in a thousand. */
  get p999(): number {
    return this.staleness[Math.ceil(this.staleness.length * 0.999) - 1] ?? 0;
  }

  get max(): number {
    return this.staleness.at(-1) ?? 0;
  }

  /** For who reads what a run has shown. */
  get text(): string {
    const { staleness, afterEnd } = this;
    const stale = staleness.filter((one) => one > 0).length;
    return (
      `${this.reads} reads, ${this.outages} outages, ${staleness.length} of them near and served; behind: ${stale}, p99.9 ${this.p999.toFixed(1)} ms, ` +
      `at most ${this.max.toFixed(1)} ms; served after the end: ${afterEnd.length}, at most ${(afterEnd.at(-1) ?? 0).toFixed(1)} ms`
    );
  }
}

/** One login's reads against what was done before them. */
class LineCheck {
  /** By when they were done: the values of each register; beside it, on each node. */
  readonly #superseded = new Map<string, { at: number; value: number }[]>();

  constructor(
    private readonly line: Line,
    private readonly findings: Findings,
  ) {
    for (const write of line.writes) {
      for (const place of [write.register, `${write.register} ${write.node}`]) {
        const known = this.#superseded.get(place) ?? [];
        known.push({ at: write.acked, value: write.value });
        this.#superseded.set(place, known);
      }
    }
    for (const writes of this.#superseded.values()) writes.sort((a, b) => a.at - b.at);
  }

  run(): void {
    this.#checkWrites();
    for (const read of this.line.reads) {
      this.findings.reads++;
      if (read.status === 503) this.findings.outages++;
      else if (read.status >= 300) this.#checkRefused(read);
      else if (read.seen) this.#checkServed(read, read.seen);
      else this.#checkDone(read);
    }
  }

  /** Each raise counts: two that were told the same value are one, and one is lost. */
  #checkWrites(): void {
    const values = this.#counts.map(({ value }) => value);
    const twice = values.filter((value, i) => values.indexOf(value) !== i);
    const { principal } = this.line;
    for (const value of twice) this.findings.lost.push(`${principal}: ${value} was told twice`);
  }

  /** Something else was done for who is logged in, and told nothing of the session. */
  #checkDone(read: Read): void {
    const behind = read.begin - endedAt(this.line.endings);
    if (behind > 0) this.#noteStrong(read, behind);
  }

  #noteStrong(read: Read, behind: number): void {
    const text = `${describe(read)} of ${this.line.principal}: ${behind.toFixed(1)} ms behind`;
    this.findings.strongStale.push(text);
  }

  get #counts(): Write[] {
    return this.line.writes.filter(({ register }) => register === 'count');
  }

  #checkServed(read: Read, seen: Readonly<Record<Register, number>>): void {
    const { ownMissed, sameNodeStale, lost, ahead, staleness, afterEnd } = this.findings;
    const text = () => `${describe(read)} of ${this.line.principal}`;
    if (seen.count < read.own) ownMissed.push(`${text()}: had written ${read.own}`);
    const raised = this.line.raises.filter((at) => at < read.end).length;
    if (seen.count > raised) ahead.push(`${text()}: raised ${raised} times`);

    const ended = endedAt(this.line.endings);
    const since = Math.min(
      ended,
      this.#supersededAt('count', seen.count),
      this.#supersededAt('grants', seen.grants),
    );
    const behind = Math.max(0, read.begin - since);
    if (read.kind === 'strong') {
      const done = this.#counts.filter(({ acked }) => acked < read.begin).length;
      if (seen.count < done) lost.push(`${text()}: raised ${done} times`);
      if (behind > 0) this.#noteStrong(read, behind);
      return;
    }
    staleness.push(behind);
    if (ended < read.begin) afterEnd.push(read.begin - ended);
    const here = Math.min(
      endedAt(this.line.endings.filter(({ node }) => node === read.node)),
      this.#supersededAt(`count ${read.node}`, seen.count),
      this.#supersededAt(`grants ${read.node}`, seen.grants),
    );
    if (here < read.begin) sameNodeStale.push(`${text()}: ${(read.begin - here).toFixed(1)} ms`);
  }

  #checkRefused(read: Read): void {
    const mayHave = this.line.endings.some(({ begin }) => begin < read.end);
    if (!mayHave) this.findings.loggedOut.push(`${describe(read)}: ${read.status}, by nobody`);
  }

  /** When the first value was told to be there that is newer than the one seen. */
  #supersededAt(place: string, value: number): number {
    return this.#superseded.get(place)?.find((one) => one.value > value)?.at ?? Infinity;
  }
}

const endedAt = (endings: readonly Ending[]): number =>
  Math.min(Infinity, ...endings.map(({ acked = Infinity }) => acked));

const describe = ({ kind, node, begin, end, seen }: Read): string =>
  `${kind} read on node ${node} from ${begin.toFixed(1)} to ${end.toFixed(1)}, saw ${JSON.stringify(seen)}`;

/** The same numbers each time. */
export function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return state / 2_147_483_648;
  };
}
