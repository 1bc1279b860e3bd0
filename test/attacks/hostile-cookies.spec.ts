import { describe, expect, it } from '@jest/globals';
import { Controller, Get, HttpCode, Post } from '@nestjs/common';
import { Session, type SessionModuleOptions } from 'nestjs-distributed-session';
import { ADAPTERS, SECRET, startApp, TestLogger } from '../support/app.js';
import { HttpClient, parseSetCookie } from '../support/http-client.js';

@Controller()
class Door {
  @Post('enter') @HttpCode(200) enter(@Session() session: Session) {
    session.set('here', true);
  }

  @Get('here') here(@Session('here') here: unknown) {
    return { here: here ?? false };
  }
}

/** What would end a header, or an attribute, or begin another one. */
const INJECTED = [
  '\r\nSet-Cookie: admin=1',
  '\nx: y',
  '\r',
  '; Domain=evil.test',
  ';',
  '\0',
  '\u007f',
  'é',
  '😀',
];

const PLACES: readonly [string, (text: string) => SessionModuleOptions['cookie']][] = [
  ['name', (text) => ({ name: `session${text}` })],
  ['domain', (text) => ({ name: 'session', domain: `example.test${text}` })],
  ['path', (text) => ({ name: 'session', path: `/app${text}` })],
  ['routing', (text) => ({ routing: `node${text}` })],
];

const hostile = PLACES.flatMap(([place, make]) =>
  INJECTED.map((text) => [place, text, make(text)] as const),
);

describe.each(ADAPTERS)('a cookie as an attacker would have it on %s', (adapter) => {
  const boot = async (cookie: SessionModuleOptions['cookie'], logger = new TestLogger()) => {
    const session = { store: 'memory', secret: SECRET, cookie } as const;
    return startApp({ adapter, controllers: [Door], session, logger });
  };

  it.each(hostile)('with a %s that goes on with %j does not boot', async (place, _, cookie) => {
    await expect(boot(cookie)).rejects.toMatchObject({
      code: 'SESSION_OPTIONS_INVALID',
      problems: [expect.stringMatching(new RegExp(`^cookie\\.${place} `))],
    });
  });

  it.each<[string, SessionModuleOptions['cookie']]>([
    ['a domain', { name: '__Host-s', domain: 'example.test' }],
    ['a path', { name: '__Host-s', path: '/app' }],
    ['plain http', { name: '__Host-s', secure: false }],
    ['http at times', { name: '__Host-s', secure: 'auto' }],
    ['a domain, and in other letters', { name: '__hOsT-s', domain: 'example.test' }],
  ])('whose name begins with __Host- does not boot with %s', async (_, cookie) => {
    await expect(boot(cookie)).rejects.toMatchObject({ code: 'SESSION_OPTIONS_INVALID' });
  });

  it.each<[string, SessionModuleOptions['cookie']]>([
    ['a name', { name: 's'.repeat(4_100) }],
    ['a path', { name: 's', path: `/${'p'.repeat(4_100)}` }],
    ['a domain', { name: 's', domain: `${'d.'.repeat(2_050)}test` }],
  ])('that is larger than browsers take, by %s, does not boot', async (_, cookie) => {
    await expect(boot(cookie)).rejects.toMatchObject({ code: 'SESSION_OPTIONS_INVALID' });
  });

  it('with everything as long as it may be is taken by browsers', async () => {
    const domain = `${'d.'.repeat(124)}test`;
    const app = await boot({ name: 's'.repeat(256), path: `/${'p'.repeat(1_023)}`, domain });
    const client = new HttpClient(app.port);
    const [line = ''] = (await client.post('/enter')).setCookie;
    expect(line.length).toBeGreaterThan(1_500);
    expect(line.length).toBeLessThanOrEqual(4_096);
    client.close();
    await app.close();
  });

  it('is at most one line in an answer, and of it the attacker chooses nothing', async () => {
    const app = await boot({});
    const client = new HttpClient(app.port);
    const headers = {
      host: 'evil.test',
      'x-forwarded-host': 'evil.test; Domain=evil.test',
      'x-forwarded-proto': 'http',
      cookie: `__Host-session="; Domain=evil.test"; Path=/x; Domain=evil.test; session=1`,
    };
    const answer = await client.post('/enter?Domain=evil.test', { headers });
    expect(answer.setCookie).toHaveLength(1);
    const { name, value, attributes } = parseSetCookie(answer.setCookie[0]!);
    expect({ name, attributes }).toEqual({
      name: '__Host-session',
      attributes: { path: '/', httponly: '', secure: '', samesite: 'Lax' },
    });
    expect(value).toMatch(/^[\w-]{44}\.[\w-]{43}$/);
    client.close();
    await app.close();
  });
});
