import type { News } from './news.interface.js';
import type { Draft } from './session-draft.js';
import type { SessionEventReason, SessionEventType } from './session.events.js';
import type { SessionNews } from './session-news.js';
import type { Renewal } from './session-renewal.js';
import type { SessionState } from './session-state.js';

/** What is told when a session begins. */
export function newsOfCreation(
  news: SessionNews,
  state: SessionState,
  draft: Draft,
  handle: string,
): News {
  const reason = 'login';
  return {
    message: news.message(beginningOf(draft), { reason }),
    notice: noticeOf(news, state, draft, handle),
  };
}

/** What is told when a session goes on under another handle. */
export function newsOfRenewal(
  news: SessionNews,
  state: SessionState,
  draft: Draft,
  handle: string,
): News {
  const notice = noticeOf(news, state, draft, handle);
  const previous = state.storedHandle;
  const { kind, unasked } = state.renewal!;
  if (kind === 'start-over') {
    const before = { handle: previous, header: state.record!.header };
    return { message: news.startOver(before, beginningOf(draft)), notice };
  }
  const [type, reason] = kind === 'regenerate' && unasked ? UNASKED : TOLD[kind];
  return { message: news.message([type], { previous, ...(reason && { reason }) }), notice };
}

const UNASKED = ['regenerated', 'renewal'] as const;

const TOLD: Record<
  Exclude<Renewal['kind'], 'start-over'>,
  readonly [SessionEventType, SessionEventReason?]
> = {
  regenerate: ['regenerated', 'regenerate'],
  authenticate: ['authenticated', 'login'],
  elevate: ['elevated'],
  switch: ['authenticated', 'switch'],
};

const beginningOf = ({ record }: Draft): SessionEventType[] =>
  record.header.identity ? ['created', 'authenticated'] : ['created'];

const noticeOf = (news: SessionNews, state: SessionState, draft: Draft, handle: string): string =>
  news.notice(handle, draft.record.header, () => state.changes.data);
