// What an application does with the package, written without a compiler, so that the same lines run
// as ESM and as CommonJS, on every Node and both Nests.
const assert = require('node:assert/strict');

module.exports = async function scenario({ common, core, rxjs, adapter, library, redis }) {
  const { Controller, Get, HttpCode, Module, Post, Redirect, Res, Sse } = common;
  const { Session, SessionGuard, SessionModule, SessionService, Principal } = library;

  class ShopController {
    async login(session) {
      await session.authenticate('alice', { roles: ['customer'] });
      return { principal: session.principal };
    }
    me(principal) {
      return { principal };
    }
    add(session) {
      return session.update('cart', (cart) => [...(cart ?? []), 'tea']);
    }
    cart(cart) {
      return cart ?? [];
    }
    async count(session) {
      session.increment('count');
      await session.save();
      return { count: session.get('count') };
    }
    nests(data) {
      data.seen = (data.seen ?? 0) + 1;
      return { seen: data.seen };
    }
    stream(session) {
      session.increment('streams');
      return rxjs.of({ data: 'one' });
    }
    redirect(session) {
      session.increment('redirects');
    }
    direct(session, response) {
      session.increment('direct');
      response.status(200).send({ direct: true });
    }
    logout(session) {
      return session.destroy();
    }
  }

  const decorate = (method, params, ...decorators) => {
    const target = ShopController.prototype;
    const descriptor = Object.getOwnPropertyDescriptor(target, method);
    params.forEach((decorator, index) => decorator(target, method, index));
    for (const decorator of decorators) decorator(target, method, descriptor);
  };
  decorate('login', [Session()], Post('login'), HttpCode(200));
  decorate('me', [Principal()], Get('me'), common.UseGuards(SessionGuard));
  decorate('add', [Session()], Post('cart'));
  decorate('cart', [Session('cart')], Get('cart'));
  decorate('count', [Session()], Post('count'));
  decorate('nests', [common.Session()], Get('nests'));
  decorate('stream', [Session()], Sse('stream'));
  decorate('redirect', [Session()], Get('redirect'), Redirect('/cart'));
  decorate('direct', [Session(), Res()], Get('direct'));
  decorate('logout', [Session()], Post('logout'), HttpCode(204));
  Controller()(ShopController);

  class AppModule {}
  Module({
    controllers: [ShopController],
    imports: [
      SessionModule.forRoot({
        redis,
        keyPrefix: `dist-${process.pid}-${adapter.getType()}`,
        secret: 'q7Zp1vXw9sLk3nDf8bRt5mHy2cJg6aUe',
        cookie: { secure: false },
      }),
    ],
  })(AppModule);

  const app = await core.NestFactory.create(AppModule, adapter, { logger: ['error'] });
  await app.listen(0, '127.0.0.1');
  const url = await app.getUrl();
  let cookie;
  const call = async (method, path) => {
    const headers = cookie ? { cookie } : {};
    const response = await fetch(url + path, { method, headers, redirect: 'manual' });
    const cookies = response.headers.getSetCookie();
    assert.ok(cookies.length <= 1, `${path}: more than one cookie`);
    if (cookies.length) cookie = cookies[0].split(';')[0];
    const text = await response.text();
    return { status: response.status, text, cookies, json: () => JSON.parse(text) };
  };

  try {
    let answer = await call('GET', '/cart');
    assert.deepEqual([answer.status, answer.cookies.length], [200, 0]);
    answer = await call('POST', '/cart');
    assert.deepEqual([answer.status, answer.cookies.length], [201, 1]);
    const anonymous = cookie;
    answer = await call('GET', '/me');
    assert.deepEqual([answer.status, answer.json().code], [401, 'SESSION_REQUIRED']);
    assert.equal((await call('POST', '/login')).status, 200);
    assert.notEqual(cookie, anonymous);
    assert.deepEqual((await call('GET', '/cart')).json(), ['tea']);
    assert.deepEqual((await call('GET', '/me')).json(), { principal: 'alice' });
    const counts = await Promise.all(Array.from({ length: 20 }, () => call('POST', '/count')));
    assert.equal(new Set(counts.map((one) => one.json().count)).size, 20);
    assert.deepEqual((await call('GET', '/nests')).json(), { seen: 1 });
    assert.deepEqual((await call('GET', '/nests')).json(), { seen: 2 });
    assert.match((await call('GET', '/stream')).text, /data: one/);
    assert.equal((await call('GET', '/redirect')).status, 302);
    assert.deepEqual((await call('GET', '/direct')).json(), { direct: true });

    const sessions = app.get(SessionService);
    assert.equal(await sessions.count(), 1);
    const id = cookie.split('=')[1].split('.')[0];
    const stored = await sessions.get(id);
    assert.deepEqual(
      { ...stored.data },
      { cart: ['tea'], count: 20, seen: 2, streams: 1, redirects: 1, direct: 1 },
    );
    // A first answer that is a stream, in a browser that has no session yet.
    cookie = undefined;
    assert.equal((await call('GET', '/stream')).cookies.length, 1);
    assert.equal((await call('POST', '/logout')).status, 204);
    assert.equal((await call('GET', '/me')).status, 401);
  } finally {
    await app.close();
  }
};
