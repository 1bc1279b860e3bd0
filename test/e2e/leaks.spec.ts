import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import {
  Body,
  Catch,
  Controller,
  Get,
  Logger,
  Param,
  Post,
  Req,
  Sse,
  UseGuards,
  type ArgumentsHost,
} from '@nestjs/common';
import { BaseExceptionFilter } from '@nestjs/core';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { of } from 'rxjs';
import {
  InjectSessionStore,
  Session,
  SessionGuard,
  SessionService,
  type SessionStore,
} from 'nestjs-distributed-session';
import { ADAPTERS, Latch, SECRET, startApp, until, type TestApp } from '../support/app.js';
import { HttpClient, type Answer } from '../support/http-client.js';
import { RedisProbe } from '../support/redis-probe.js';
import { startRedis, type RedisUnderTest } from '../support/redis-under-test.js';
import { expectNoIds, issuedIds } from '../support/secrets.js';

/** Everything that an error carries: message, stack, causes, own and hidden properties. */
const everything = (value: unknown) => inspect(value, { depth: Infinity, showHidden: true });

const caught: string[] = [];

@Catch()
class Collecting extends BaseExceptionFilter {
  override catch(error: unknown, host: ArgumentsHost): void {
    caught.push(everything(error));
    // oxlint-disable-next-line promise/valid-params -- a filter, no promise
    super.catch(error, host);
  }
}

let latch = new Latch();

@Controller()
class Talkative {
  readonly #logger = new Logger('Talkative');

  constructor(
    private readonly sessions: SessionService,
    @InjectSessionStore() private readonly store: SessionStore,
  ) {}

  @Post('set') set(@Session() session: Session, @Body() body: Record<string, unknown>) {
    for (const [key, value] of Object.entries(body)) session.set(key, value);
    session.flash('info', 'changed');
    return { handle: session.handle };
  }

  @Post('login') async login(@Session() session: Session) {
    await session.authenticate('alice', { roles: ['customer'] });
    return { principal: session.principal };
  }

  @Post('renew') async renew(@Session() session: Session) {
    await session.regenerate();
    return {};
  }

  @Post('logout') logout(@Session() session: Session) {
    return session.destroy();
  }

  @UseGuards(SessionGuard) @Get('me') me(@Session() session: Session) {
    return session;
  }

  @Get('logged') async logged(@Session() session: Session, @Req() request: { session: unknown }) {
    const found = await this.sessions.find(session.handle);
    for (const thing of [session, found, this.sessions, this.store, request.session]) {
      this.#logger.log(thing);
      this.#logger.debug?.(`printed: ${everything(thing)}`);
      process.stdout.write(`${JSON.stringify(thing)}\n`);
      process.stderr.write(`${everything(thing)}\n`);
    }
    return { session, found };
  }

  @Get('thrown') thrown(@Session() session: Session) {
    throw new Error(`failed with ${everything(session)}`, { cause: session });
  }

  @Get('unsaveable') async unsaveable(@Session() session: Session) {
    session.set('bad', () => 1);
    await session.save();
  }

  @Get('misused') async misused(@Session() session: Session) {
    const found = await this.sessions.find(session.handle);
    return { id: found?.id };
  }

  @Get('ended') async ended(@Session() session: Session) {
    await session.destroy();
    session.set('late', 1);
  }

  @Post('slow') async slow(@Session() session: Session) {
    await latch.wait();
    session.set('late', 1);
    await session.save({ ifUnchanged: true });
    return {};
  }

  @Post('revoke/:handle') revoke(@Param('handle') handle: string) {
    return this.sessions.revoke(handle);
  }

  @Sse('sse') sse(@Session() session: Session) {
    session.increment('n');
    return of({ data: session });
  }
}

describe.each(ADAPTERS)('over a whole life with all its failures on %s', (adapter) => {
  let server: RedisUnderTest;
  let probe: RedisProbe;
  let running: TestApp;
  let client: HttpClient;
  let restore: () => void;
  const answers: Answer[] = [];
  const printed: string[] = [];

  beforeAll(async () => {
    restore = listenToOutput(printed);
    server = await startRedis({ args: ['--appendonly', 'yes', '--appendfsync', 'always'] });
    probe = await RedisProbe.start(server);
    await probe.watch();
    running = await startApp({
      adapter,
      controllers: [Talkative],
      session: {
        redis: server.connection(),
        secret: SECRET,
        maxBytes: 4_096,
        schema: {
          '~standard': {
            version: 1,
            vendor: 'test',
            validate: (value) =>
              (value as { wrong?: boolean }).wrong
                ? { issues: [{ message: 'is wrong', path: ['wrong'] }] }
                : { value },
          },
        },
      },
      setup: (app) => void app.useGlobalFilters(new Collecting(app.getHttpAdapter())),
    });
    client = new HttpClient(running.port);
    await live();
  });

  afterAll(async () => {
    restore();
    client.close();
    await running.close();
    await probe.stop();
    await server.stop();
  });

  /** Sends a request, and expects how it ends. */
  const expectStatus = async (
    status: number,
    method: string,
    path: string,
    json?: unknown,
    as = client,
  ) => {
    const answer = await as.send(method, path, json === undefined ? {} : { json });
    answers.push(answer);
    expect([method, path, answer.status]).toEqual([method, path, status]);
    return answer;
  };

  const live = async () => {
    await expectStatus(201, 'POST', '/set', { colour: 'red' });
    const anonymous = new Map(client.jar);
    await expectStatus(401, 'GET', '/me');
    await expectStatus(201, 'POST', '/login');
    await expectStatus(409, 'POST', '/set', { colour: 'blue' }, client.another(anonymous));
    await expectStatus(201, 'POST', '/renew');
    await expectStatus(200, 'GET', '/me');
    await expectStatus(200, 'GET', '/logged');
    await expectStatus(200, 'GET', '/sse');
    await expectStatus(500, 'GET', '/thrown');
    await expectStatus(500, 'GET', '/unsaveable');
    await expectStatus(500, 'GET', '/misused');
    await expectStatus(413, 'POST', '/set', { big: 'x'.repeat(5_000) });
    await expectStatus(500, 'POST', '/set', { wrong: true });

    const slow = expectStatus(409, 'POST', '/slow', undefined, client.another(client.jar));
    await latch.reached;
    await expectStatus(201, 'POST', '/set', { colour: 'green' });
    latch.open();
    await slow;
    latch = new Latch();

    const token = client.jar.get('__Host-session') as string;
    const forged = client.another([['__Host-session', `${token.slice(0, 44)}.${'A'.repeat(43)}`]]);
    await expectStatus(401, 'GET', '/me', undefined, forged);
    const stranger = client.another();
    const made = await expectStatus(201, 'POST', '/set', { colour: 'red' }, stranger);
    const both = client.another([...client.jar, ['x', `1; ${stranger.cookieHeader}`]]);
    await expectStatus(401, 'GET', '/me', undefined, both);
    await expectStatus(201, 'POST', `/revoke/${String(made.json.handle)}`);

    await server.kill();
    for (const path of ['/me', '/logged', '/thrown', '/ended'])
      await expectStatus(503, 'GET', path);
    await expectStatus(503, 'POST', '/set', { colour: 'red' }, client.another());
    await server.run();
    await until('it works again', async () => (await client.get('/me')).status === 200);
    await probe.ready();

    await expectStatus(500, 'GET', '/ended');
    await expectStatus(201, 'POST', '/logout');
    await expectStatus(401, 'GET', '/me');
  };

  it('ids were given away that could have leaked', () => {
    expect(issuedIds()).toBeGreaterThan(3);
    expect(() =>
      expectNoIds('this', [client.jar.get('none') ?? '', ...answers.flatMap((a) => a.setCookie)]),
    ).toThrow('this tells a session id');
  });

  it('no id is in a key, a value, a command or a file of Redis', async () => {
    const dump = await probe.dump();
    expect(dump.size).toBeGreaterThan(0);
    expectNoIds('Redis', [...dump].flat());
    const sent = await probe.everythingSent();
    expect(sent.length).toBeGreaterThan(10);
    expectNoIds('a command', sent);
    const files = server.servers
      .flatMap(({ directory }) => filesIn(directory))
      .map((file) => readFileSync(file, 'latin1'));
    expect(files.join('').length).toBeGreaterThan(1_000);
    expectNoIds('a file of Redis', files);
  });

  it('no id is in a log line, nor in anything else that was printed', () => {
    expect(running.logger.texts().length).toBeGreaterThan(10);
    expectNoIds('the log', running.logger.texts());
    expect(printed.length).toBeGreaterThan(5);
    expectNoIds('the output', printed);
  });

  it('no id is in an error, its stack, its causes or anything that hangs on it', () => {
    expect(caught.length).toBeGreaterThan(10);
    expectNoIds('an error', caught);
  });

  it('no id is in an answer, but in the cookie itself', () => {
    for (const { text, headers } of answers) {
      expectNoIds('a body', [text]);
      expectNoIds('a header', Object.values(headers) as string[]);
    }
  });
});

/** Whatever is printed past the application's logger. */
function listenToOutput(lines: string[]): () => void {
  const restores = [process.stdout, process.stderr].map((stream) => {
    const write = stream.write.bind(stream);
    stream.write = ((chunk: string | Uint8Array) => {
      lines.push(typeof chunk === 'string' ? chunk : Buffer.from(chunk).toString('latin1'));
      return true;
    }) as typeof stream.write;
    return () => void (stream.write = write);
  });
  for (const method of ['log', 'info', 'warn', 'error', 'debug'] as const) {
    const original = console[method];
    console[method] = (...parts: unknown[]) => void lines.push(parts.map(everything).join(' '));
    restores.push(() => void (console[method] = original));
  }
  return () => restores.forEach((restore) => restore());
}

function filesIn(folder: string): string[] {
  return readdirSync(folder)
    .map((name) => join(folder, name))
    .flatMap((path) => (statSync(path).isDirectory() ? filesIn(path) : [path]));
}
