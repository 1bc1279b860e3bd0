import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Controller, Inject, Param, Post, Res, Sse } from '@nestjs/common';
import type { ServerResponse } from 'node:http';
import {
  Session,
  SessionService,
  type SessionModuleOptions,
  type SessionError,
} from 'nestjs-distributed-session';
import type { RevocationOption } from 'nestjs-distributed-session/cookie';
import { FakeClock } from 'nestjs-distributed-session/testing';
import { concat, defer, of, type Observable } from 'rxjs';
import { ADAPTERS, SECRET, until } from '../support/app.js';
import { Browser, CarriedShop } from '../support/carried-app.js';
import { FORMS } from '../support/carried-forms.js';
import { Opened } from '../support/opened.js';

const BOTH = FORMS.flatMap(([form, make]) => ADAPTERS.map((on) => [form, on, make] as const));

interface AnyResponse {
  /** On Fastify. */
  readonly raw?: ServerResponse;
  hijack?(): unknown;
}

/** What a handler may do that does not know where its sessions are. */
const DEEDS: Readonly<Record<string, (session: Session) => unknown>> = {
  save: async (session) => {
    session.set('late', 'yes');
    await session.save();
  },
  login: async (session) => {
    await session.authenticate('mallory');
    await session.save();
  },
  elevate: async (session) => {
    await session.elevate('otp');
    await session.save();
  },
  regenerate: async (session) => {
    await session.regenerate();
    await session.save();
  },
  destroy: async (session) => {
    await session.destroy();
    await session.save();
  },
  touch: (session) => session.touch(),
  load: (session) => session.load(),
};

/** What became of it, as the handler sees it. */
const outcome = async (deed: string, session: Session): Promise<string> => {
  try {
    await DEEDS[deed]!(session);
    return 'done';
  } catch (error) {
    return `${(error as SessionError).code} ${(error as Error).name}: ${(error as Error).message}`;
  }
};

/** Answers before it does anything. */
@Controller('late')
class LateShop {
  constructor(@Inject(SessionService) private readonly sessions: SessionService) {}

  @Post('body/:deed') async body(
    @Session() session: Session,
    @Param('deed') deed: string,
    @Res() response: AnyResponse & ServerResponse,
  ) {
    await this.#answer(response, () => outcome(deed, session));
  }

  /** Nobody has asked for the session before. */
  @Post('unread/:deed') async unread(
    @Param('deed') deed: string,
    @Res() response: AnyResponse & ServerResponse,
  ) {
    await this.#answer(response, () => outcome(deed, this.sessions.current()!));
  }

  @Sse('events/:deed') events(
    @Session() session: Session,
    @Param('deed') deed: string,
    @Res() response: AnyResponse & ServerResponse,
  ): Observable<{ data: string }> {
    const { socket } = response.raw ?? response;
    const before = socket!.bytesWritten;
    const later = defer(async () => {
      await until('the headers have left', () => socket!.bytesWritten > before);
      return { data: await outcome(deed, session) };
    });
    return concat(of({ data: 'first' }), later);
  }

  async #answer(response: AnyResponse & ServerResponse, deed: () => Promise<string>) {
    const raw = response.raw ?? response;
    response.hijack?.();
    raw.writeHead(200, { 'content-type': 'text/plain' });
    await new Promise((written) => raw.write('first ', written));
    raw.end(await deed());
  }
}

const LATE =
  'SESSION_UNAVAILABLE SessionStoreCannotError: The session store cannot do this: the client carries its session, and the headers of the answer, which hand it out, have left; change or end it before the first byte, or by another request.';

describe.each(BOTH)('%s on %s, when the headers have left', (_, adapter, make) => {
  const opened = new Opened();
  let clock: FakeClock;

  beforeEach(() => {
    clock = new FakeClock();
  });
  afterEach(opened.close);

  const visit = async (
    revocation?: RevocationOption,
    session: Partial<SessionModuleOptions> = {},
  ): Promise<Browser> => {
    const { port } = await opened.app({
      adapter,
      controllers: [CarriedShop, LateShop],
      session: { secret: SECRET, clock, store: make(revocation), ...session },
    });
    const browser = opened.add(new Browser(port));
    await browser.login();
    return browser;
  };

  const WAYS: readonly (readonly [string, (browser: Browser, deed: string) => Promise<string>])[] =
    [
      ['a body', async (browser, deed) => (await browser.post(`/late/body/${deed}`)).text],
      [
        'an event stream',
        async (browser, deed) => (await browser.get(`/late/events/${deed}`)).text,
      ],
    ];

  describe.each(WAYS)('in %s', (_way, ask) => {
    it.each(['save', 'login', 'elevate', 'regenerate'])(
      '%s is refused, and the session is as it was',
      async (deed) => {
        for (const revocation of [undefined, 'memory'] as const) {
          const browser = await visit(revocation);
          const before = await browser.me();
          const text = await ask(browser, deed);
          expect(text).toContain('first');
          expect(text).toContain(LATE);
          expect(await browser.me()).toEqual(before);
        }
      },
    );

    it('destroy is refused where nobody could be told of it', async () => {
      const browser = await visit();
      expect(await ask(browser, 'destroy')).toContain(LATE);
      expect(await browser.principal()).toBe('alice');
    });

    it('destroy ends the session where there is a list', async () => {
      const browser = await visit('memory');
      expect(await ask(browser, 'destroy')).toContain('done');
      expect(await browser.principal()).toBeNull();
      expect(browser.jar.size).toBe(0);
    });

    it('a login without a session before is refused', async () => {
      const browser = await visit();
      browser.jar.clear();
      expect(await ask(browser, 'login')).toContain(LATE);
      expect(await browser.principal()).toBeNull();
    });
  });

  it.each(['touch', 'load'])('%s moves no window that it could not hand out', async (deed) => {
    const browser = await visit(undefined, { idleTimeout: '30m', touchAfter: '60s' });
    clock.advance('2m');
    expect((await browser.post(`/late/unread/${deed}`)).text).toBe('first done');
    // The next one does not take it for moved.
    expect((await browser.get('/me')).setCookie).toHaveLength(1);
  });
});
