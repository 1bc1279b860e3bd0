import type { Visit } from '../visit.js';
import type { PeerRequest, PeerSessions } from './contender.js';

const visitOn = (request: PeerRequest) => request.session as Partial<Visit>;

/** How a visit is read and changed where a middleware keeps the session on the request. */
export const onRequestSession: Required<Pick<PeerSessions, 'read' | 'change'>> = {
  read: (request) => {
    const visit = visitOn(request);
    return visit.user === undefined ? undefined : (visit as Visit);
  },
  change: async (request) => {
    const visit = visitOn(request) as Visit;
    visit.visits += 1;
  },
};
