import { startApp, type TestApp, type TestAppOptions } from './app.js';
import { HttpClient } from './http-client.js';

/** Applications and browsers that a test opens; what was opened last is closed first. */
export class Opened {
  readonly #all: { close(): unknown }[] = [];

  async app(options: TestAppOptions): Promise<TestApp> {
    return this.add(await startApp(options));
  }

  /** A browser, with the cookies of another one if they are given. */
  browser({ port }: TestApp, cookies?: Iterable<[string, string]>): HttpClient {
    return this.add(new HttpClient(port, cookies));
  }

  /** What was opened elsewhere. */
  add<T extends { close(): unknown }>(one: T): T {
    this.#all.push(one);
    return one;
  }

  /** What was closed already. */
  drop(one: { close(): unknown }): void {
    this.#all.splice(this.#all.indexOf(one), 1);
  }

  close = async (): Promise<void> => {
    for (const one of this.#all.splice(0).toReversed()) await one.close();
  };
}

/** Which of these browsers a route lets pass. */
export async function pass(path: string, clients: readonly HttpClient[]): Promise<boolean[]> {
  const answers = await Promise.all(clients.map((client) => client.get(path)));
  return answers.map(({ status }) => status === 200);
}
