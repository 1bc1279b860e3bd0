import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { until } from './app.js';
import { makeCertificate } from './certificate.js';
import { findBinary, freePort } from './redis-server.js';

/** A way to balance as the documentation has it, and what it is to be in front of. */
export interface Configuration {
  /** What is common to all ways, as it is written. */
  readonly common: string;
  /** The way. */
  readonly way: string;
  /** Where the nodes really are, by the addresses that the configuration gives them. */
  readonly nodes: ReadonlyMap<string, string>;
}

interface Ports {
  readonly port: number;
  readonly tlsPort: number;
}

interface Served {
  /** `host:port`; of those that were asked, the one that answered. */
  readonly node: string;
  readonly uri: string;
}

/** What differs between the programs. */
interface Program {
  readonly binary: string;
  readonly missing: string;
  /** Writes its files into a folder, and tells how it is started in the foreground. */
  prepare: (configuration: Configuration, folder: string, ports: Ports) => Promise<string[]>;
  /** Who served what, in order, by what it logged. */
  served: (output: string, folder: string) => Served[];
}

/**
 * A real load balancer, in the foreground, on free ports of the loopback interface: one for plain http,
 * which clients of tests speak, and one for TLS as the configuration has it.
 */
export class LoadBalancer implements Ports {
  readonly #folder: string;
  #output = '';
  #marks = 0;

  private constructor(
    private readonly program: Program,
    readonly port: number,
    readonly tlsPort: number,
    private child: ChildProcessByStdio<null, Readable, Readable> | undefined,
  ) {
    this.#folder = mkdtempSync(join(tmpdir(), 'session-balancer-'));
  }

  static nginx = (configuration: Configuration) => LoadBalancer.#start(NGINX, configuration);
  static haproxy = (configuration: Configuration) => LoadBalancer.#start(HAPROXY, configuration);

  static async #start(program: Program, configuration: Configuration): Promise<LoadBalancer> {
    const balancer = new LoadBalancer(program, await freePort(), await freePort(), undefined);
    await balancer.#run(configuration);
    return balancer;
  }

  /**
   * The nodes that served what `action` asked for, in order: `host:port`. It asks with the query that it
   * is given, and so often; what others ask for meanwhile does not count.
   */
  async servedDuring(
    requests: number,
    action: (query: string) => Promise<unknown>,
  ): Promise<string[]> {
    const query = `mark=${++this.#marks}`;
    await action(query);
    const { served } = this.program;
    // Balancers write their log when the answer has gone.
    return until(`${requests} requests are logged`, () => {
      const lines = served(this.#output, this.#folder);
      const ours = lines.filter(({ uri }) => uri.endsWith(`?${query}`)).map(({ node }) => node);
      return ours.length >= requests && ours;
    });
  }

  async stop(): Promise<void> {
    if (this.child?.exitCode === null && this.child.signalCode === null) {
      const gone = once(this.child, 'close');
      this.child.kill('SIGTERM');
      const patience = setTimeout(() => this.child?.kill('SIGKILL'), 5_000);
      await gone;
      clearTimeout(patience);
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #run(configuration: Configuration): Promise<void> {
    const { binary, missing, prepare } = this.program;
    // Where Debian has it, and does not put it on the path of everybody.
    const path = findBinary(binary) ?? `/usr/sbin/${binary}`;
    const args = await prepare(configuration, this.#folder, this);
    const child = spawn(path, args, { cwd: this.#folder, stdio: ['ignore', 'pipe', 'pipe'] });
    this.child = child;
    let failure: Error | undefined;
    child.on('error', (error) => (failure = error));
    child.stdout.on('data', (chunk: Buffer) => (this.#output += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (this.#output += chunk.toString()));
    const answers = async () => {
      if (failure) throw new Error(missing, { cause: failure });
      if (child.exitCode !== null) throw new Error(`${binary} ended:\n${this.#output}`);
      return fetch(`http://127.0.0.1:${this.port}/ping`).then(
        ({ ok }) => ok,
        () => false,
      );
    };
    await until(`${binary} serves`, answers, { within: 10_000 });
  }
}

const NGINX: Program = {
  binary: 'nginx',
  missing: 'nginx is missing: apt-get install nginx',
  prepare: async ({ common, way, nodes }, folder, { port, tlsPort }) => {
    const { certFile, keyFile } = await makeCertificate(folder);
    const site = replaceAll(`${way}\n${common}`, [
      ...nodes,
      ['listen 443 ssl;', `listen 127.0.0.1:${port};\n  listen 127.0.0.1:${tlsPort} ssl;`],
      ['shop.crt', certFile],
      ['shop.key', keyFile],
    ]);
    writeFileSync(join(folder, 'site.conf'), site);
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
    const main = `
      daemon off;
      worker_processes 1;
      pid nginx.pid;
      error_log stderr;
      events { worker_connections 512; }
      http {
        log_format served "served by $upstream_addr: $request_uri";
        access_log served.log served;
        ${temporary.map((name) => `${name}_temp_path ${name};`).join('\n')}
        # Tests play clients of many networks.
        set_real_ip_from 127.0.0.1;
        real_ip_header X-Real-IP;
        include site.conf;
      }`;
    writeFileSync(join(folder, 'nginx.conf'), main);
    return ['-p', folder, '-c', join(folder, 'nginx.conf'), '-e', 'stderr'];
  },
  served: (_output, folder) => servedIn(readFileSync(join(folder, 'served.log'), 'utf8')),
};

const HAPROXY: Program = {
  binary: 'haproxy',
  missing: 'haproxy is missing: apt-get install haproxy',
  prepare: async ({ common, way, nodes }, folder, { port, tlsPort }) => {
    const { cert, key } = await makeCertificate(folder);
    writeFileSync(join(folder, 'shop.pem'), cert + key);
    const site = replaceAll(`${common}\n${way}`, [
      ...nodes,
      [
        'bind :443 ssl crt shop.pem',
        `bind 127.0.0.1:${port}\n  bind 127.0.0.1:${tlsPort} ssl crt shop.pem`,
      ],
      ['option httplog', 'log-format "served by %si:%sp: %HU"'],
    ]);
    // Threads that log at the same moment would rather lose a line than wait for one another.
    const global = 'global\n  log stdout format raw local0 info\n  maxconn 512\n  nbthread 1\n\n';
    writeFileSync(join(folder, 'haproxy.cfg'), `${global}${site}\n`);
    return ['-db', '-f', 'haproxy.cfg'];
  },
  served: servedIn,
};

function servedIn(log: string): Served[] {
  const lines = log.matchAll(/^served by (?:.*, )?(\S+): (.*)$/gm);
  return [...lines].map(([, node = '', uri = '']) => ({ node, uri }));
}

/** What is to be replaced must be there: else a test would run something else than what is written. */
function replaceAll(text: string, pairs: Iterable<readonly [string, string]>): string {
  for (const [from, to] of pairs) {
    if (!text.includes(from)) throw new Error(`the configuration has no "${from}"`);
    text = text.replaceAll(from, to);
  }
  return text;
}
