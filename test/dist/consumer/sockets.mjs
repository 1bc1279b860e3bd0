import 'reflect-metadata';
import assert from 'node:assert/strict';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { SessionModule, SessionSockets } from 'nestjs-distributed-session';
import { SessionIoAdapter } from 'nestjs-distributed-session/socket.io';
import { SessionWsAdapter } from 'nestjs-distributed-session/ws';

class Gateway {
  hello() {
    return { event: 'hello', data: 'world' };
  }
}
const { prototype } = Gateway;
SubscribeMessage('hello')(prototype, 'hello', Object.getOwnPropertyDescriptor(prototype, 'hello'));
WebSocketGateway()(Gateway);

/** An application whose sockets are those of an adapter. */
async function withSockets(Adapter, use) {
  class App {}
  const imports = [SessionModule.forRoot({ redis: process.env.REDIS_URL, events: true })];
  Module({ imports, providers: [Gateway] })(App);
  const app = await NestFactory.create(App, { logger: ['error'] });
  app.useWebSocketAdapter(new Adapter(app));
  await app.listen(0, '127.0.0.1');
  await use(new URL(await app.getUrl()), app.get(SessionSockets));
  await app.close();
}

await withSockets(SessionWsAdapter, async ({ host }, sockets) => {
  const socket = new WebSocket(`ws://${host}`);
  await new Promise((resolve) => socket.addEventListener('open', resolve, { once: true }));
  const answer = new Promise((resolve) => socket.addEventListener('message', resolve));
  socket.send(JSON.stringify({ event: 'hello' }));
  assert.deepEqual(JSON.parse((await answer).data), { event: 'hello', data: 'world' });
  assert.equal(sockets.count(), 1);
  socket.close();
});
await withSockets(SessionIoAdapter, async ({ origin }) => {
  const handshake = `${origin}/socket.io/?EIO=4&transport=polling`;
  assert.equal((await fetch(handshake)).status, 200);
  const headers = { origin: 'https://elsewhere.example' };
  assert.equal((await fetch(handshake, { headers })).status, 403);
});
console.log('done');
process.exit(0);
