import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import {
  BadRequestException,
  Catch,
  Controller,
  Delete,
  Get,
  Header,
  HttpCode,
  Injectable,
  Post,
  Query,
  Redirect,
  Res,
  Sse,
  StreamableFile,
  UseGuards,
  type ArgumentsHost,
  type CanActivate,
  type ExecutionContext,
  type NestMiddleware,
} from '@nestjs/common';
import { BaseExceptionFilter } from '@nestjs/core';
import type { Response } from 'express';
import type { FastifyReply } from 'fastify';
import { createHash, randomBytes } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { Readable } from 'node:stream';
import { of } from 'rxjs';
import { Session, SessionService, SkipSession } from 'nestjs-distributed-session';
import { ADAPTERS, Latch, startApp, until, type TestApp } from '../support/app.js';
import { HttpClient, parseSetCookie } from '../support/http-client.js';
import { NEST } from '../support/nest.js';
import { RedisGates } from '../support/redis-gates.js';
import { RedisProbe } from '../support/redis-probe.js';
import { startRedis, type RedisUnderTest } from '../support/redis-under-test.js';
import { expectNoNewId } from '../support/tokens.js';

type Reply = Response | FastifyReply;

const isFastify = (reply: Reply): reply is FastifyReply => 'raw' in reply;

/** What a handler adds to an answer by itself, and expects to arrive. */
function addOwn(reply: Reply): void {
  if (isFastify(reply))
    reply.header('set-cookie', 'own=1; Path=/').header('vary', 'Accept-Encoding');
  else reply.append('Set-Cookie', 'own=1; Path=/').vary('Accept-Encoding');
}

/** The response of Node, out of Fastify's hands. */
function rawOf(reply: Reply): ServerResponse {
  if (!isFastify(reply)) return reply;
  reply.hijack();
  return reply.raw;
}

function change(session: Session, big?: string): void {
  session.increment('n');
  if (big) session.set('big', 'x'.repeat(70_000));
}

const text = (...chunks: string[]) => Readable.from(chunks.map((chunk) => Buffer.from(chunk)));

@Injectable()
class ChangingGuard implements CanActivate {
  constructor(private readonly sessions: SessionService) {}
  async canActivate(context: ExecutionContext): Promise<boolean> {
    const session = await this.sessions.current()!.load();
    const http = context.switchToHttp();
    change(session, http.getRequest<{ query: { big?: string } }>().query.big);
    addOwn(http.getResponse<Reply>());
    return false;
  }
}

@Injectable()
class ChangingMiddleware implements NestMiddleware {
  constructor(private readonly sessions: SessionService) {}
  async use(request: { originalUrl: string }, response: ServerResponse, next: () => void) {
    const session = await this.sessions.current()!.load();
    change(session, request.originalUrl.includes('big') ? 'big' : undefined);
    response.appendHeader('set-cookie', 'own=1; Path=/');
    response.setHeader('vary', 'Accept-Encoding');
    next();
  }
}

/** Where handlers wait, by the name that a request gives. */
const latches = new Map<string, Latch>();

function latch(name: string): Latch {
  const made = new Latch();
  latches.set(name, made);
  return made;
}

const waitAt = (name: string) => latches.get(name)?.wait();

const BIG = randomBytes(5 * 1024 * 1024);
const sha = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
let pulled = 0;

/** 5 MB that come only as fast as they are taken. */
function bigStream(): Readable {
  pulled = 0;
  return new Readable({
    read(size) {
      const chunk = BIG.subarray(pulled, pulled + size);
      pulled += chunk.length;
      this.push(chunk.length > 0 ? chunk : null);
    },
  });
}

@Controller()
class Answers {
  @Get('value') value(
    @Session() session: Session,
    @Res({ passthrough: true }) reply: Reply,
    @Query('big') big?: string,
  ) {
    addOwn(reply);
    change(session, big);
    return { n: session.get('n') };
  }

  @Get('http-error') httpError(
    @Session() session: Session,
    @Res({ passthrough: true }) reply: Reply,
    @Query('big') big?: string,
  ) {
    addOwn(reply);
    change(session, big);
    throw new BadRequestException('no');
  }

  @Get('plain-error') async plainError(
    @Session() session: Session,
    @Res({ passthrough: true }) reply: Reply,
    @Query('big') big?: string,
  ) {
    addOwn(reply);
    change(session, big);
    await Promise.resolve();
    throw new Error('boom');
  }

  @UseGuards(ChangingGuard) @Get('refused') refused() {}

  @Get('res') res(@Session() session: Session, @Res() reply: Reply, @Query('big') big?: string) {
    addOwn(reply);
    change(session, big);
    if (isFastify(reply)) void reply.status(201).send({ n: 1 });
    else reply.status(201).json({ n: 1 });
  }

  @Redirect('/elsewhere', 302) @Get('redirect') redirect(
    @Session() session: Session,
    @Res({ passthrough: true }) reply: Reply,
    @Query('big') big?: string,
  ) {
    addOwn(reply);
    change(session, big);
  }

  @Get('res-redirect') resRedirect(
    @Session() session: Session,
    @Res() reply: Reply,
    @Query('big') big?: string,
  ) {
    addOwn(reply);
    change(session, big);
    if (isFastify(reply)) void reply.redirect('/elsewhere', 303);
    else reply.redirect(303, '/elsewhere');
  }

  @Get('file') file(
    @Session() session: Session,
    @Res({ passthrough: true }) reply: Reply,
    @Query('big') big?: string,
  ) {
    addOwn(reply);
    change(session, big);
    return new StreamableFile(text('one', 'two'));
  }

  @Get('generator') async *generator(
    @Session() session: Session,
    @Res({ passthrough: true }) reply: Reply,
    @Query('big') big?: string,
  ) {
    addOwn(reply);
    change(session, big);
    yield 'one';
    await Promise.resolve();
    yield 'two';
  }

  @Get('stream') stream(
    @Session() session: Session,
    @Res() reply: Reply,
    @Query('big') big?: string,
  ) {
    addOwn(reply);
    change(session, big);
    if (isFastify(reply)) void reply.send(text('one', 'two'));
    else text('one', 'two').pipe(reply);
  }

  @Get('raw-stream') rawStream(
    @Session() session: Session,
    @Res() reply: Reply,
    @Query('big') big?: string,
  ) {
    change(session, big);
    const raw = rawOf(reply);
    raw.setHeader('set-cookie', 'own=1; Path=/');
    raw.setHeader('vary', 'Accept-Encoding');
    text('one', 'two').pipe(raw);
  }

  @Sse('sse') @Header('Vary', 'Accept-Encoding') sse(
    @Session() session: Session,
    @Query('big') big?: string,
  ) {
    change(session, big);
    return of({ data: 'one' }, { data: 'two' });
  }

  @Get('flush') flush(
    @Session() session: Session,
    @Res() reply: Reply,
    @Query('big') big?: string,
  ) {
    change(session, big);
    const raw = rawOf(reply);
    raw.setHeader('set-cookie', 'own=1; Path=/');
    raw.setHeader('vary', 'Accept-Encoding');
    raw.flushHeaders();
    raw.write('one');
    raw.end('two');
  }

  @Get('write-head') writeHead(
    @Session() session: Session,
    @Res() reply: Reply,
    @Query('big') big?: string,
  ) {
    change(session, big);
    const headers = { 'Set-Cookie': 'own=1; Path=/', Vary: 'Accept-Encoding' };
    rawOf(reply).writeHead(202, 'Fine', headers).end('onetwo');
  }

  @Get('write-head-list') writeHeadList(
    @Session() session: Session,
    @Res() reply: Reply,
    @Query('big') big?: string,
  ) {
    change(session, big);
    const headers = ['Set-Cookie', 'own=1; Path=/', 'Vary', 'Accept-Encoding'];
    rawOf(reply).writeHead(202, headers).end('onetwo');
  }

  @SkipSession() @Get('ping') ping() {
    return { ok: true };
  }

  @Get('read') read(@Session('n') n: unknown) {
    return { n: n ?? null };
  }

  @Get('unused') unused() {
    return { ok: true };
  }

  @Post('start') start(@Session() session: Session) {
    session.set('n', 0);
    return {};
  }

  @Delete('end') @HttpCode(204) async end(@Session() session: Session) {
    await session.destroy();
  }

  @Post('no-content') @HttpCode(204) noContent(@Session() session: Session) {
    change(session);
  }

  @Get('etag') etag(@Session() session: Session) {
    change(session);
    return { always: 'the same' };
  }

  @Get('not-modified') notModified(
    @Session() session: Session,
    @Res({ passthrough: true }) reply: Reply,
  ) {
    change(session);
    reply.status(304);
  }

  @Get('slow') async slow(@Session() session: Session, @Query('at') at: string) {
    await waitAt(at);
    change(session);
    return { n: session.get('n') };
  }

  @Get('big') bigPipe(@Session() session: Session, @Res() reply: Reply) {
    change(session);
    if (isFastify(reply)) void reply.send(bigStream());
    else bigStream().pipe(reply);
  }

  @Get('big-raw') bigRaw(@Session() session: Session, @Res() reply: Reply) {
    change(session);
    bigStream().pipe(rawOf(reply));
  }

  @Get('big-file') bigFile(@Session() session: Session) {
    change(session);
    return new StreamableFile(bigStream());
  }

  @Get('wrong') wrong(@Session() session: Session, @Res() reply: Reply) {
    session.set('n', 'no number');
    if (isFastify(reply)) void reply.send('fine');
    else reply.send('fine');
  }

  @Get('if-unchanged') async ifUnchanged(@Session() session: Session, @Query('at') at: string) {
    await waitAt(at);
    change(session);
    await session.save({ ifUnchanged: true });
    return {};
  }

  @Get('renewed-meanwhile') async renewedMeanwhile(
    @Session() session: Session,
    @Query('at') at: string,
    @Res() reply: Reply,
  ) {
    await waitAt(at);
    change(session);
    if (isFastify(reply)) void reply.redirect('/elsewhere');
    else reply.redirect('/elsewhere');
  }

  @Post('login') async login(@Session() session: Session) {
    await session.authenticate('alice');
    return {};
  }

  @Get('cacheable') cacheable(@Session() session: Session, @Res() reply: Reply) {
    if (session.isNew) change(session);
    rawOf(reply).writeHead(200, { 'Cache-Control': 'public, max-age=60' }).end();
  }

  @Get('nonsense') nonsense(@Session() session: Session, @Res() reply: Reply) {
    change(session);
    rawOf(reply).end(123);
  }
}

/** An application's own way to show errors. */
@Catch()
class ShowsErrors extends BaseExceptionFilter {
  override catch(error: unknown, host: ArgumentsHost): void {
    const reply = host.switchToHttp().getResponse<Reply>();
    if (isFastify(reply)) reply.header('x-filtered', 'yes');
    else reply.setHeader('x-filtered', 'yes');
    // oxlint-disable-next-line promise/valid-params -- a filter, no promise
    super.catch(error, host);
  }
}

interface Way {
  readonly way: string;
  readonly path: string;
  readonly status: number;
  readonly body: unknown;
  /** Without own headers: where no handler can add some. */
  readonly bare?: boolean;
  /** Written past Fastify's reply, and so past Nest's filters. */
  readonly raw?: boolean;
}

const WAYS: readonly Way[] = [
  { way: 'a returned value', path: '/value', status: 200, body: { n: 1 } },
  { way: 'a thrown HttpException', path: '/http-error', status: 400, body: /"no"/ },
  { way: 'a thrown error', path: '/plain-error', status: 500, body: /Internal/ },
  { way: "a guard's refusal", path: '/refused', status: 403, body: /Forbidden/ },
  { way: 'no route at all', path: '/unknown', status: 404, body: /Cannot GET/ },
  { way: '@Res()', path: '/res', status: 201, body: { n: 1 } },
  { way: '@Redirect()', path: '/redirect', status: 302, body: /.*/ },
  { way: 'a redirect by @Res()', path: '/res-redirect', status: 303, body: /.*/ },
  { way: 'a StreamableFile', path: '/file', status: 200, body: /^onetwo$/ },
  // Nest 11 answers it as an object.
  ...(NEST >= 12
    ? [{ way: 'an async generator', path: '/generator', status: 200, body: /^onetwo$/ }]
    : []),
  { way: 'a stream', path: '/stream', status: 200, body: /^onetwo$/ },
  { way: 'a raw piped stream', path: '/raw-stream', status: 200, body: /^onetwo$/, raw: true },
  { way: 'SSE', path: '/sse', status: 200, body: /one[^]*two/, bare: true, raw: true },
  { way: 'flushHeaders', path: '/flush', status: 200, body: /^onetwo$/, raw: true },
  { way: 'writeHead with headers', path: '/write-head', status: 202, body: /^onetwo$/, raw: true },
  {
    way: 'writeHead with a list',
    path: '/write-head-list',
    status: 202,
    body: /^onetwo$/,
    raw: true,
  },
];

describe.each(ADAPTERS)('answers on %s', (adapter) => {
  let server: RedisUnderTest;
  let gate: RedisGates;
  let probe: RedisProbe;
  let running: TestApp;
  let client: HttpClient;

  const sessionCookies = (setCookie: readonly string[]) =>
    setCookie.map(parseSetCookie).filter(({ name }) => name === '__Host-session');

  /** A client that has a session already. */
  const withSession = async () => {
    const other = client.another();
    await other.post('/start');
    return other;
  };

  /** What the application's exception filter leaves on an answer that it has made. */
  const filtered = (raw?: boolean) => (adapter === 'fastify' && raw ? undefined : 'yes');

  const onlyRecord = async () => {
    const records = [...(await probe.liveRecords()).values()];
    expect(records).toHaveLength(1);
    return records[0] as string;
  };

  beforeAll(async () => {
    server = await startRedis();
    gate = await RedisGates.start(server);
    probe = await RedisProbe.start(server);
    running = await startApp({
      adapter,
      controllers: [Answers],
      providers: [ChangingGuard],
      session: {
        redis: gate.connection,
        schema: {
          '~standard': {
            version: 1,
            vendor: 'test',
            validate: (value) =>
              typeof (value as { n?: unknown }).n === 'string'
                ? { issues: [{ message: 'not a number', path: ['n'] }] }
                : { value },
          },
        },
      },
      configure: (consumer) => consumer.apply(ChangingMiddleware).forRoutes('unknown{/*path}'),
      setup: (app) => void app.useGlobalFilters(new ShowsErrors(app.getHttpAdapter())),
    });
    client = new HttpClient(running.port);
    // Redis knows the scripts from here on: counts do not depend on the order of tests.
    const warm = await withSession();
    await warm.get('/value');
  });

  beforeEach(async () => {
    client.jar.clear();
    await probe.flush();
  });

  afterEach(() => {
    gate.release();
  });

  afterAll(async () => {
    client.close();
    await running.close();
    await probe.stop();
    await gate.stop();
    await server.stop();
  });

  describe.each(WAYS)('$way', ({ path, status, body, bare, raw }) => {
    const expectAnswer = (answer: { status: number; text: string }) => {
      expect(answer.status).toBe(status);
      if (body instanceof RegExp) expect(answer.text).toMatch(body);
      else expect(JSON.parse(answer.text)).toEqual(body);
    };

    it('stores a new session by one command and sends one cookie beside the own headers', async () => {
      let answer!: Awaited<ReturnType<HttpClient['get']>>;
      const commands = await probe.commandsDuring(async () => (answer = await client.get(path)));

      expectAnswer(answer);
      expect(commands.map(({ name }) => name)).toEqual(['evalsha']);
      expect(sessionCookies(answer.setCookie)).toHaveLength(1);
      expect(answer.headers['cache-control']).toMatch(/no-store/);
      expect(answer.headers.vary).toMatch(/\bCookie\b/);
      expect(answer.headers.vary).toMatch(/\bAccept-Encoding\b/);
      const own = answer.setCookie.filter((cookie) => cookie === 'own=1; Path=/');
      expect(own).toHaveLength(bare ? 0 : 1);
      expect(answer.setCookie).toHaveLength(bare ? 1 : 2);
      expect(await onlyRecord()).toContain('"n":1');
    });

    it('commits a known session once and sends no new id', async () => {
      const known = await withSession();
      const token = known.jar.get('__Host-session');
      let answer!: Awaited<ReturnType<HttpClient['get']>>;
      const commands = await probe.commandsDuring(async () => (answer = await known.get(path)));

      expectAnswer(answer);
      expect(commands.map(({ name }) => name)).toEqual([
        expect.stringMatching(/^get(ex)?$/),
        'evalsha',
      ]);
      const cookies = sessionCookies(answer.setCookie);
      expect(cookies.length).toBeLessThanOrEqual(1);
      expectNoNewId(cookies[0]?.value, token);
      expect(await onlyRecord()).toContain('"n":1');
    });

    it.each(['new', 'known'])('stores a %s session before the first byte leaves', async (kind) => {
      const { jar } = kind === 'known' ? await withSession() : client;
      const cookie = [...jar].map(([name, value]) => `Cookie: ${name}=${value}\r\n`).join('');
      gate.hold(/evalsha/i);

      const socket = connect(running.port, '127.0.0.1');
      let bytes = 0;
      const firstByte = new Promise<void>((resolve, reject) => {
        socket.on('error', reject);
        socket.on('data', (chunk) => {
          bytes += chunk.length;
          resolve();
        });
      });
      socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n${cookie}\r\n`);
      await until('the commit is on its way', () => gate.holds);
      // Other requests come and go meanwhile: a byte that was going to leave would have left.
      for (let i = 0; i < 3; i++) await client.get('/ping');
      expect(bytes).toBe(0);

      gate.release();
      await firstByte;
      expect(await onlyRecord()).toContain('"n":1');
      socket.destroy();
    });

    it('is replaced by the error when the commit fails, and sets no session cookie', async () => {
      const answer = await client.get(`${path}?big=1`);

      expect(answer.status).toBe(413);
      expect(answer.json).toMatchObject({ statusCode: 413, code: 'SESSION_TOO_LARGE' });
      expect(answer.headers.location).toBeUndefined();
      expect(sessionCookies(answer.setCookie)).toEqual([]);
      expect(answer.headers['x-filtered']).toBe(filtered(raw));
      expect(await probe.liveRecords()).toEqual(new Map());
      // The connection goes on: the error was framed as such.
      expect((await client.get('/ping')).json).toEqual({ ok: true });
    });
  });

  it('sends no cookie and stores nothing where a session is only read', async () => {
    let answer!: Awaited<ReturnType<HttpClient['get']>>;
    const commands = await probe.commandsDuring(async () => (answer = await client.get('/read')));
    expect(answer.json).toEqual({ n: null });
    expect(answer.setCookie).toEqual([]);
    expect(answer.headers.vary ?? '').not.toMatch(/Cookie/);
    expect(commands).toEqual([]);

    const known = await withSession();
    const again = await known.get('/read');
    expect(again.json).toEqual({ n: 0 });
    expect(again.setCookie).toEqual([]);
  });

  it('clears the cookie once when the session was destroyed', async () => {
    const known = await withSession();
    let answer!: Awaited<ReturnType<HttpClient['get']>>;
    const commands = await probe.commandsDuring(
      async () => (answer = await known.send('DELETE', '/end')),
    );
    expect(answer.status).toBe(204);
    const [cookie, ...more] = sessionCookies(answer.setCookie);
    expect(more).toEqual([]);
    expect(cookie).toMatchObject({
      value: '',
      attributes: { path: '/', 'max-age': '0', secure: '' },
    });
    expect(commands.filter(({ name }) => name === 'getdel')).toHaveLength(1);
    expect(await probe.liveRecords()).toEqual(new Map());
  });

  it('commits for HEAD, 204 and 304, which have no body', async () => {
    const head = await client.send('HEAD', '/value');
    expect(head).toMatchObject({ status: 200, text: '' });
    expect(sessionCookies(head.setCookie)).toHaveLength(1);

    const known = await withSession();
    expect(await known.post('/no-content')).toMatchObject({ status: 204, text: '' });
    expect((await known.get('/read')).json).toEqual({ n: 1 });
    const unmodified = await known.get('/not-modified');
    expect(unmodified).toMatchObject({ status: 304, text: '' });
    expect((await known.get('/read')).json).toEqual({ n: 2 });

    const fresh = client.another();
    expect(sessionCookies((await fresh.get('/not-modified')).setCookie)).toHaveLength(1);
    expect((await fresh.get('/read')).json).toEqual({ n: 1 });
  });

  it('commits when the adapter answers 304 for an etag that still holds', async () => {
    const known = await withSession();
    const first = await known.get('/etag');
    const etag = first.headers.etag ?? '"none"';
    const second = await known.get('/etag', { headers: { 'if-none-match': etag } });
    expect(second.status).toBe(adapter === 'express' ? 304 : 200);
    expect((await known.get('/read')).json).toEqual({ n: 2 });
  });

  it('commits for a client that left before the answer', async () => {
    const known = await withSession();
    const { reached, open } = latch('left');
    const controller = new AbortController();
    const sent = known.get('/slow?at=left', { signal: controller.signal }).catch(() => 'left');
    await reached;
    controller.abort();
    expect(await sent).toBe('left');
    open();
    await until('the session is stored', async () => (await onlyRecord()).includes('"n":1'));
    expect((await known.get('/read')).json).toEqual({ n: 1 });
  });

  it.each(WAYS)('survives a client that leaves during the commit of $way', async ({ path }) => {
    const known = await withSession();
    gate.hold(/evalsha/i);
    const controller = new AbortController();
    const sent = known.get(path, { signal: controller.signal }).catch(() => 'left');
    await until('the commit is on its way', () => gate.holds);
    controller.abort();
    expect(await sent).toBe('left');
    gate.release();
    await until('the session is stored', async () => (await onlyRecord()).includes('"n":1'));
    expect((await known.get('/read')).json).toEqual({ n: 1 });
  });

  it.each(['/big', '/big-raw', '/big-file'])(
    'streams 5 MB byte for byte at %s, and not faster than they are taken',
    async (path) => {
      const known = await withSession();
      gate.hold(/evalsha/i);
      const sent = known.get(path);
      await until('the commit is on its way', () => gate.holds);
      for (let i = 0; i < 5; i++) await client.get('/ping');
      expect(pulled).toBeLessThan(512 * 1024);
      gate.release();
      const answer = await sent;
      expect(answer.bytes).toHaveLength(BIG.length);
      expect(sha(answer.bytes)).toBe(sha(BIG));
      expect((await known.get('/read')).json).toEqual({ n: 1 });
    },
  );

  describe('a commit that fails', () => {
    it('answers 500 with a code for data that violates the schema', async () => {
      const known = await withSession();
      const answer = await known.get('/wrong');
      expect(answer.status).toBe(500);
      expect(answer.json).toMatchObject({ code: 'SESSION_DATA_INVALID' });
      expect(answer.headers['x-filtered']).toBe('yes');
      expect(answer.setCookie).toEqual([]);
      expect((await known.get('/read')).json).toEqual({ n: 0 });
    });

    it('answers 409 when the session was changed and the handler insisted that it was not', async () => {
      const known = await withSession();
      const { reached, open } = latch('unchanged');
      const sent = known.get('/if-unchanged?at=unchanged');
      await reached;
      await known.get('/value');
      open();
      const answer = await sent;
      expect(answer.status).toBe(409);
      expect(answer.json).toMatchObject({ code: 'SESSION_CONFLICT' });
      expect(answer.headers['x-filtered']).toBe('yes');
      expect(answer.setCookie).toEqual([]);
      expect((await known.get('/read')).json).toEqual({ n: 1 });
    });

    it('answers 409 instead of a redirect when a login has taken the session over meanwhile', async () => {
      const known = await withSession();
      const { reached, open } = latch('renewed');
      const sent = known.another(known.jar).get('/renewed-meanwhile?at=renewed');
      await reached;
      expect((await known.post('/login')).status).toBe(201);
      open();
      const answer = await sent;
      expect(answer.status).toBe(409);
      expect(answer.json).toMatchObject({ code: 'SESSION_CONFLICT' });
      expect(answer.headers.location).toBeUndefined();
      expect(answer.setCookie).toEqual([]);
    });

    it('answers 503 whatever the handler answers when Redis goes away', async () => {
      gate.cut(/evalsha/i);
      const answers = await Promise.all(
        WAYS.map(async ({ way, path, raw }) => ({
          way,
          raw,
          answer: await client.another().get(path),
        })),
      );
      gate.release();
      for (const { way, raw, answer } of answers) {
        expect({ way, status: answer.status }).toEqual({ way, status: 503 });
        expect(answer.json).toMatchObject({ code: 'SESSION_STORE_UNAVAILABLE' });
        expect(answer.headers.location).toBeUndefined();
        expect(answer.headers['x-filtered']).toBe(filtered(raw));
        expect(sessionCookies(answer.setCookie)).toEqual([]);
      }
      await until('it works again', async () => (await client.post('/start')).status === 201);
    });
  });

  it('does not let a handler make the answer with the cookie cacheable', async () => {
    const answer = await client.get('/cacheable');
    expect(answer.status).toBe(200);
    expect(sessionCookies(answer.setCookie)).toHaveLength(1);
    expect(answer.headers['cache-control']).toBe('no-store');
    expect(answer.headers.vary).toBe('Cookie');
    const unchanged = await client.get('/cacheable');
    expect(unchanged.headers['cache-control']).toBe('public, max-age=60');
  });

  it('answers 500 where a handler writes what no response takes, and goes on', async () => {
    const answer = await client.get('/nonsense');
    expect(answer.status).toBe(500);
    expect(answer.json).toMatchObject({ statusCode: 500 });
    expect(running.logger.texts('error').at(-1)).toMatch(/ERR_INVALID_ARG_TYPE/);
    expect((await client.get('/ping')).status).toBe(200);
  });
});
