import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { Controller, Get } from '@nestjs/common';
import { AsyncLocalStorage } from 'node:async_hooks';
import type { IncomingMessage, Server } from 'node:http';
import { Session } from 'nestjs-distributed-session';
import { endOfTurn } from '../../lib/http/end-of-turn.js';
import { ADAPTERS, startApp, type TestApp } from '../support/app.js';

/** What a tracer keeps of each request, from its first byte on. */
const traces = new AsyncLocalStorage<string>();

@Controller()
class TracedController {
  @Get('trace') trace(@Session() session: Session) {
    return { trace: traces.getStore(), isNew: session.isNew };
  }
}

function traced(server: Server): void {
  const emit = server.emit.bind(server) as (event: string, ...args: unknown[]) => boolean;
  server.emit = (event: string, ...args: unknown[]): boolean => {
    if (event !== 'request') return emit(event, ...args);
    const { headers } = args[0] as IncomingMessage;
    return traces.run(String(headers['x-trace']), () => emit(event, ...args));
  };
}

describe.each(ADAPTERS)('requests that go on together, on %s', (adapter) => {
  describe.each(['lazy', 'eager'] as const)('with loading: %s', (loading) => {
    let node: TestApp;

    beforeAll(async () => {
      node = await startApp({
        adapter,
        session: { store: 'memory', loading },
        controllers: [TracedController],
        setup: (app) => traced(app.getHttpServer() as Server),
      });
    });
    afterAll(() => node.close());

    it('each keep the context that it came with', async () => {
      const names = Array.from({ length: 50 }, (_, i) => `trace-${i}`);
      const answers = await Promise.all(
        names.map(async (name) => {
          const answer = await fetch(`http://127.0.0.1:${node.port}/trace`, {
            headers: { 'x-trace': name },
          });
          return answer.json();
        }),
      );
      expect(answers).toEqual(names.map((trace) => ({ trace, isNew: true })));
    });
  });
});

describe('the end of a turn', () => {
  it('is one for all who wait in the same turn, and another one in the next', async () => {
    const order: string[] = [];
    const first = endOfTurn().then(() => order.push('first'));
    queueMicrotask(() => order.push('still the same turn'));
    const second = endOfTurn().then(() => order.push('second'));
    expect(endOfTurn()).toBe(endOfTurn());
    const before = endOfTurn();
    await Promise.all([first, second]);
    expect(order).toEqual(['still the same turn', 'first', 'second']);
    expect(endOfTurn()).not.toBe(before);
  });

  it('comes also where a test has replaced timers', async () => {
    jest.useFakeTimers();
    try {
      await endOfTurn();
    } finally {
      jest.useRealTimers();
    }
  });
});
