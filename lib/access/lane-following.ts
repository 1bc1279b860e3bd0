import { Logger } from '@nestjs/common';
import type { SessionEvents } from '../events/session-events.js';
import { OperationCorridor } from '../http/detached-corridor.js';
import type { SessionCorridor } from '../http/session-corridor.js';
import type { SessionLane } from '../http/session-lane.js';

const logger = new Logger('SessionModule');

/**
 * Follows the session of a lane until it is over. It is asked for once more, for what happened between
 * its being read and this; and when it moves, so that its connection goes on with it.
 *
 * @returns how to stop that
 */
export function followLane(
  events: SessionEvents,
  corridor: SessionCorridor,
  lane: SessionLane,
  onEnd: () => void,
): () => void {
  const { storedHandle = '', identity } = lane.state ?? {};
  const ask = () => {
    if (!(corridor instanceof OperationCorridor)) return;
    corridor.isAlive(lane).then(
      (isAlive) => !isAlive && onEnd(),
      // An outage is not an end.
      (error: unknown) => logger.warn(error),
    );
  };
  const stop = events.follow(storedHandle, {
    principal: identity?.principal,
    onEnd,
    onMoved: ask,
  });
  ask();
  return stop;
}
