import { ConflictException } from '@nestjs/common';
import type { Session } from 'nestjs-distributed-session';

/**
 * Writes the session now, so that the answer tells what is stored, and not only what this request saw.
 *
 * @throws ConflictException if the session was ended meanwhile: then there is nothing to tell
 */
export async function stored(session: Session): Promise<void> {
  if (await session.save()) return;
  throw new ConflictException({
    statusCode: 409,
    code: 'SESSION_ENDED',
    message: 'The session was ended by another request at the same time.',
  });
}
