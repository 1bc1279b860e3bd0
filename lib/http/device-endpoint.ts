import { Logger } from '@nestjs/common';
import { randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { LiveSession } from '../core/live-session.js';
import type { SessionDevice } from '../core/session-device.js';
import type { TransportRequest } from '../core/session-id-transport.interface.js';
import type { SessionState } from '../core/session-state.js';
import {
  SessionConflictError,
  SessionDeviceError,
  SessionError,
  SessionRequiredError,
  SessionStoreUnavailableError,
} from '../core/session.errors.js';
import type { DeviceProofReader } from '../security/device-proof.js';
import type { DeviceSessions } from './device-sessions.js';
import { writerOf } from './response-gate.js';
import type { SessionCorridor } from './session-corridor.js';
import { challengeOf, errorBody, RETRY_AFTER } from './session-http.exception.js';

/** What is answered. Browsers go by the status alone. */
interface Verdict {
  /** 200; 401, which ends the device session in the browser; 403, with a challenge; 503, try later. */
  readonly status: 200 | 401 | 403 | 503;
  /** 200: the device that has proven itself. 403: the one that is challenged. */
  readonly device?: SessionDevice | undefined;
  readonly error?: SessionError;
}

interface DeviceRequest {
  readonly request: TransportRequest;
  readonly session: LiveSession;
  readonly state: SessionState;
}

/** Rounds before it is given up to write to a session that others write to all the time. */
const ROUNDS = 10;
const logger = new Logger('SessionModule');

/**
 * Where browsers register the key of a device, and prove later that they have it. It stands before the
 * routes of the application, so neither its guards nor its prefix nor its rate limits apply: browsers take
 * every refusal, 429 too, for the end of the device session.
 */
export class DeviceEndpoint {
  constructor(
    private readonly devices: DeviceSessions,
    private readonly proofs: DeviceProofReader,
    private readonly now: () => number,
  ) {}

  /** Whether a request is for it. */
  serves(raw: IncomingMessage & { readonly originalUrl?: string }): boolean {
    if (raw.method !== 'POST') return false;
    const [path] = (raw.originalUrl ?? raw.url ?? '').split('?', 1);
    return path === this.devices.path;
  }

  async serve(
    corridor: SessionCorridor,
    request: TransportRequest,
    response: ServerResponse,
  ): Promise<void> {
    const { session } = corridor;
    const state = LiveSession.stateOf(session);
    // It is the browser that asks, not its user.
    state.passive = true;
    // What is not known must not be taken for its end.
    state.onStoreFailure = 'reject';
    let verdict: Verdict;
    try {
      verdict = await this.#judge({ request, session, state });
    } catch (error) {
      if (!(error instanceof SessionError)) logger.error(error);
      state.unavailable = true;
      verdict = { status: 503, error: unavailable(error) };
    }
    this.#answer(verdict, corridor, request, response);
  }

  async #judge(asked: DeviceRequest): Promise<Verdict> {
    const { request, session } = asked;
    const id = textOf(request.header('sec-secure-session-id'));
    const proof = textOf(request.header('secure-session-response'));
    await session.load();
    for (let round = 0; round < ROUNDS; round++) {
      try {
        return await (id === undefined
          ? this.#register(asked, proof)
          : this.#refresh(asked, id, proof));
      } catch (error) {
        if (!(error instanceof SessionConflictError)) throw error;
        // Nothing of the proof counts before it is judged by what is there now.
        await session.reload();
      }
    }
    throw new SessionConflictError();
  }

  async #register(asked: DeviceRequest, token: string | undefined): Promise<Verdict> {
    const { state } = asked;
    const { record, seed } = state;
    if (!record?.header.identity || seed === undefined) return GONE;
    // A second key would be that of whoever has stolen the cookie. Only another login gets another.
    if (record.header.device || token === undefined) return REFUSED;
    const now = this.now();
    const proof = await this.proofs.readNew(token, { now, path: this.devices.path });
    const answered = proof && this.devices.offeredAt(seed, proof.challenge);
    if (!proof || answered === undefined) return REFUSED;
    const id = randomBytes(16).toString('base64url');
    return this.#keep(asked, { id, key: proof.key, boundAt: now, answered });
  }

  async #refresh(asked: DeviceRequest, id: string, token: string | undefined): Promise<Verdict> {
    const device = asked.state.record?.header.device;
    if (!device || device.id !== id) return GONE;
    const challenged: Verdict = { ...REFUSED, device };
    if (token === undefined) return challenged;
    const context = { now: this.now(), path: this.devices.path };
    const proof = await this.proofs.read(token, device.key, context, id);
    const answered = proof && this.devices.challengedAt(device, proof.challenge);
    if (answered === undefined) return challenged;
    return this.#keep(asked, { ...device, answered });
  }

  /** Written before anything is answered, and on the record that was judged only: a proof counts once. */
  async #keep({ session, state }: DeviceRequest, device: SessionDevice): Promise<Verdict> {
    state.bindTo(device);
    return (await session.save({ ifUnchanged: true })) ? { status: 200, device } : GONE;
  }

  #answer(
    { status, device, error }: Verdict,
    corridor: SessionCorridor,
    request: TransportRequest,
    response: ServerResponse,
  ): void {
    const writer = writerOf(response);
    if (status === 200 && device) this.devices.write(request, writer, device);
    if (status === 403 && device) {
      writer.replace('Secure-Session-Challenge', this.devices.challenge(device));
    }
    if (status === 401) corridor.challenge = challengeOf(error);
    if (status === 503) writer.replace('Retry-After', RETRY_AFTER);
    if (error) logger.debug(`Device session answered ${status}: ${error.message}`);
    // The browser asks beside what its user does: a late answer must not undo a login.
    corridor.skipped = true;
    const body = error
      ? errorBody(error, status)
      : this.devices.instructions(device as SessionDevice);
    response.statusCode = status;
    writer.replace('Content-Type', 'application/json; charset=utf-8');
    writer.replace('Cache-Control', 'no-store');
    // Other sites are not to find out by it who is logged in.
    writer.replace('Cross-Origin-Resource-Policy', 'same-origin');
    response.end(JSON.stringify(body));
  }
}

const GONE: Verdict = { status: 401, error: new SessionRequiredError() };
const REFUSED: Verdict = {
  status: 403,
  error: new SessionDeviceError(
    'The proof is missing, is none of this device, or answers an old challenge.',
  ),
};

const unavailable = (error: unknown): SessionError =>
  error instanceof SessionError ? error : new SessionStoreUnavailableError('unknown');

/** A string of a structured field (RFC 9651), which some browsers send without its quotes; parameters are left out. */
function textOf(value: string | undefined): string | undefined {
  const [, quoted, bare] = /^\s*(?:"([^"\\]*)"|([^\s";,]+))\s*(?:;.*)?$/.exec(value ?? '') ?? [];
  return (quoted ?? bare) || undefined;
}
