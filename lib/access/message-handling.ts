import type { CallHandler, ExecutionContext } from '@nestjs/common';
import { catchError, concat, concatMap, defer, EMPTY, from, mergeMap, throwError } from 'rxjs';
import type { Observable } from 'rxjs';
import type { DetachedCorridor } from '../http/detached-corridor.js';
import { insideCorridor } from '../http/session-corridor.js';
import { sessionOf, traitsOf } from './session-of.js';

/**
 * Handles a message to which no response belongs that would wait for the commit: what its handler changed
 * is stored before anything that it emits goes on, also if it fails.
 */
export async function handleMessage(
  context: ExecutionContext,
  corridor: DetachedCorridor,
  next: CallHandler,
): Promise<Observable<unknown>> {
  if (traitsOf(context).skip) return next.handle();
  await sessionOf(context);
  corridor.isHandled = true;
  const commit = () => corridor.commit();
  return concat(
    insideCorridor(corridor, () => next.handle()).pipe(
      concatMap(async (value: unknown) => {
        await commit();
        return value;
      }),
      // What the handler says is wrong is what its caller is told, whatever became of the rest.
      catchError((error: unknown) =>
        from(commit().catch(() => undefined)).pipe(mergeMap(() => throwError(() => error))),
      ),
    ),
    defer(async () => commit()).pipe(mergeMap(() => EMPTY)),
  );
}
