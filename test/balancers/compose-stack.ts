import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from '../support/app.js';
import { freePort } from '../support/redis-server.js';
import { wordsOf, type ComposeFile, type Service } from './compose-file.js';

/** Ports that services listen on, each in a network of its own. */
const PORTS = /\b(?:6379|26379)\b/g;
/** The bus of a Cluster has a port that is so much higher. */
const BUS = 10_000;

/**
 * The services of a profile that run on an image, by their own command lines, in the order that they ask
 * for: plain processes on free ports of the loopback interface, each in a directory of its own.
 */
export class ComposeStack {
  readonly #ports = new Map<string, number>();
  readonly #started = new Map<string, Promise<void>>();
  readonly #servers = new Map<string, ChildProcess>();
  readonly #running: ChildProcess[] = [];
  readonly #folders: string[] = [];
  #output = '';

  private constructor(
    private readonly file: ComposeFile,
    private readonly names: readonly string[],
  ) {}

  static async start(file: ComposeFile, profile: string, image: string): Promise<ComposeStack> {
    const names = Object.keys(file.services).filter((name) => {
      const service = file.services[name] as Service;
      return service.profiles?.includes(profile) && service.image === image;
    });
    const stack = new ComposeStack(file, names);
    try {
      for (const name of names) {
        let port = await freePort();
        while (port + BUS > 65_535) port = await freePort();
        stack.#ports.set(name, port);
      }
      await Promise.all(names.map((name) => stack.#start(name)));
      return stack;
    } catch (error) {
      await stack.stop();
      throw new Error(`${profile} does not start:\n${stack.#output}`, { cause: error });
    }
  }

  /** Where a service is. */
  portOf(name: string): number {
    return this.#ports.get(name) as number;
  }

  /** A text of the file, with where the services really are: all that is changed. */
  here(text: string, own?: string): string {
    for (const name of this.names) {
      const { networks } = this.file.services[name] as Service;
      for (const host of [name, networks?.default?.ipv4_address]) {
        if (host === undefined) continue;
        const place = new RegExp(`(?<![\\w.-])${host}( -p |[ :])${PORTS.source}`, 'g');
        text = text.replace(place, `127.0.0.1$1${this.portOf(name)}`);
        if (text === host) text = '127.0.0.1';
      }
    }
    if (own !== undefined) text = text.replace(PORTS, `${this.portOf(own)}`);
    return text.replaceAll('protected-mode no', 'bind 127.0.0.1');
  }

  /** Ends a service at once, for good. */
  async kill(name: string): Promise<void> {
    await killed(this.#servers.get(name) as ChildProcess);
  }

  async stop(): Promise<void> {
    await Promise.allSettled(this.#started.values());
    await Promise.all(this.#running.map(killed));
    for (const folder of this.#folders) rmSync(folder, { recursive: true, force: true });
  }

  #start(name: string): Promise<void> {
    const known = this.#started.get(name);
    const starting = known ?? this.#startAnew(name);
    if (!known) this.#started.set(name, starting);
    return starting;
  }

  async #startAnew(name: string): Promise<void> {
    const service = this.file.services[name] as Service;
    const { depends_on = {}, healthcheck } = service;
    await Promise.all(Object.keys(depends_on).map((other) => this.#start(other)));
    const folder = mkdtempSync(join(tmpdir(), 'session-compose-'));
    this.#folders.push(folder);
    const child = this.#spawn(wordsOf(service), name, folder);
    this.#servers.set(name, child);
    if (!healthcheck) return succeeds(child, name);
    const [, ...check] = healthcheck.test;
    const isHealthy = async () => {
      if (!isRunning(child)) throw new Error(`${name} ended`);
      const [code] = (await once(this.#spawn(check, name, folder), 'exit')) as [number | null];
      return code === 0;
    };
    await until(`${name} is healthy`, isHealthy, { within: 30_000 });
  }

  #spawn(words: readonly string[], name: string, folder: string): ChildProcess {
    const { environment = {} } = this.file.services[name] as Service;
    const [program = '', ...args] = words.map((word) => this.here(word, name));
    const own = Object.entries(environment).map(([key, value]) => [key, this.here(value, name)]);
    const env = { PATH: process.env.PATH, ...(Object.fromEntries(own) as Record<string, string>) };
    const child = spawn(program, args, { cwd: folder, env, stdio: ['ignore', 'pipe', 'pipe'] });
    const keep = (chunk: Buffer) => void (this.#output += `${name}: ${chunk.toString()}`);
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);
    this.#running.push(child);
    return child;
  }
}

const isRunning = (child: ChildProcess): boolean =>
  child.pid !== undefined && child.exitCode === null && child.signalCode === null;

async function killed(child: ChildProcess): Promise<void> {
  if (!isRunning(child)) return;
  const gone = once(child, 'exit');
  child.kill('SIGKILL');
  await gone;
}

async function succeeds(child: ChildProcess, name: string): Promise<void> {
  const [code] = (await once(child, 'exit')) as [number | null];
  if (code !== 0) throw new Error(`${name} failed with ${code}`);
}
