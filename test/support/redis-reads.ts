import type { Redis } from 'ioredis';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';

/**
 * Counts sessions that are read from Redis: who waits for one more knows that a handler runs. Over a
 * connection of its own: what a busy server says on one that begins to monitor confuses a client.
 */
export class SessionReads {
  count = 0;

  private constructor(private readonly socket: Socket) {}

  /** From now on. */
  static async watch({ options: { port, host } }: Redis): Promise<SessionReads> {
    const socket = connect(port!, host);
    const reads = new SessionReads(socket);
    const lines = createInterface(socket).on('line', (line) => {
      if (/ "get(?:ex)?" "[^"]*\}:s:/i.test(line)) reads.count++;
    });
    socket.write('MONITOR\r\n');
    await once(lines, 'line');
    return reads;
  }

  stop(): void {
    this.socket.destroy();
  }
}
