import { Controller, Get, Module, Post, Query, Res, Sse, UseGuards, Session as NestSession, type INestApplication } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { ExpressAdapter } from '@nestjs/platform-express';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import request from 'supertest';
import { of } from 'rxjs';
import { Principal, Session, SessionGuard, SessionModule } from 'nestjs-distributed-session';
import { RedisServer } from '../support/redis-server.js';

@Controller()
class Shop {
  @Post('login') async login(@Session() s: Session) { await s.authenticate('alice', { roles: ['a'] }); return { ok: 1 }; }
  @Get('cart') cart(@Session('cart') cart: unknown) { return { cart: cart ?? [] }; }
  @Post('cart') add(@Session() s: Session) { s.update('cart' as string, (c) => [...((c as []) ?? []), 1]); return { cart: s.get('cart') }; }
  @UseGuards(SessionGuard) @Get('me') me(@Principal() p: string) { return { p }; }
  @Post('logout') logout(@Session() s: Session) { return s.destroy(); }
  @Post('count') async count(@Session() s: Session) { s.increment('n'); await s.save(); return { n: s.get('n') }; }
  @Get('native') native(@NestSession() s: Record<string, unknown>) { s.x = ((s.x as number) ?? 0) + 1; return { x: s.x }; }
  @Sse('sse') sse(@Session() s: Session) { s.increment('n'); return of({ data: 'x' }); }
}

describe.each(['express', 'fastify'])('%s', (kind) => {
  let redis: RedisServer; let app: INestApplication;
  beforeAll(async () => {
    redis = await RedisServer.start();
    const m = await Test.createTestingModule({ controllers: [Shop], imports: [SessionModule.forRoot({ redis: redis.url, secret: 'x8Jd93kd02kdLs93kfj3kdlsk39fkslw0', cookie: { secure: false } })] }).compile();
    app = m.createNestApplication(kind === 'express' ? new ExpressAdapter() : new FastifyAdapter());
    await app.listen(0, '127.0.0.1');
  });
  afterAll(async () => { await app.close(); await redis.stop(); });
  it('works', async () => {
    const agent = request.agent(app.getHttpServer());
    let r = await agent.get('/cart'); expect(r.status).toBe(200); expect(r.headers['set-cookie']).toBeUndefined();
    r = await agent.post('/cart'); console.log(r.headers, r.body);
    r = await agent.get('/me'); expect(r.status).toBe(401); console.log(r.body);
    r = await agent.post('/login'); console.log(r.status, r.headers['set-cookie'], r.body);
    r = await agent.get('/me'); expect(r.status).toBe(200);
    r = await agent.get('/cart'); expect(r.body).toEqual({ cart: [1] });
    const all = await Promise.all(Array.from({ length: 50 }, () => agent.post('/count')));
    expect(new Set(all.map((x) => x.body.n)).size).toBe(50);
    r = await agent.get('/native'); r = await agent.get('/native'); expect(r.body).toEqual({ x: 2 });
    r = await agent.get('/sse'); console.log(r.status, r.headers, r.text);
    r = await agent.post('/count'); expect(r.body.n).toBe(52);
    const fresh = await request(app.getHttpServer()).get('/sse'); console.log(fresh.headers);
    r = await agent.post('/logout'); console.log(r.status, r.headers['set-cookie']);
    r = await agent.get('/me'); expect(r.status).toBe(401);
  });
});
