import { HttpClient } from './http-client.js';

/** What became of logouts. */
export interface LogoutFigures {
  readonly confirmed: number;
  /** Answered, and not confirmed. */
  readonly refused: number;
  /** Confirmed, and their sessions live again. */
  readonly revived: number;
}

/** Milliseconds that a visitor waits for an answer. */
const PATIENCE = 5_000;
/** Rounds of each visitor, however long it lasts. */
const MOST = 5_000;

/** Visitors who log in and out again and again, and remember what they were promised. */
export class LogoutLoad {
  readonly #browser: HttpClient;
  readonly #ended: [string, string][][] = [];
  #refused = 0;
  #running = true;
  readonly #loops: Promise<void>[];

  constructor(
    port: number,
    private readonly name: string,
    visitors = 6,
  ) {
    this.#browser = new HttpClient(port);
    this.#loops = Array.from({ length: visitors }, (_, i) => this.#live(i));
  }

  /** Logouts that were confirmed so far. */
  get confirmed(): number {
    return this.#ended.length;
  }

  async stop(): Promise<void> {
    this.#running = false;
    await Promise.all(this.#loops);
  }

  /** Who is logged in although their logout was confirmed. */
  async figures(): Promise<LogoutFigures> {
    let revived = 0;
    for (const cookies of this.#ended) {
      const { status } = await this.#browser.another(cookies).get('/me');
      if (status !== 200 && status !== 401) throw new Error(`unexpected answer ${status}`);
      if (status === 200) revived++;
    }
    return { confirmed: this.confirmed, refused: this.#refused, revived };
  }

  close(): void {
    this.#running = false;
    this.#browser.close();
  }

  async #live(visitor: number): Promise<void> {
    for (let round = 0; this.#running && round < MOST; round++) {
      const client = this.#browser.another();
      const login = await this.#ask(client, `/login/${this.name}-${visitor}`);
      if (login !== 200) continue;
      const cookies = [...client.jar];
      const logout = await this.#ask(client, '/logout');
      if (logout === 204) this.#ended.push(cookies);
      else this.#refused++;
    }
  }

  async #ask(client: HttpClient, path: string): Promise<number | undefined> {
    const signal = AbortSignal.timeout(PATIENCE);
    const answer = await client.post(path, { signal }).catch(() => undefined);
    // Nobody asks again at once.
    if ((answer?.status ?? 503) >= 500) await new Promise((resolve) => setTimeout(resolve, 20));
    return answer?.status;
  }
}
