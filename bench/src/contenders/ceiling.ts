import type { Setup } from './contender.js';
import { visitOf } from '../visit.js';

/** No session at all: what the application itself costs. Whoever asks is the same user. */
export function ceiling(): Setup {
  const visit = visitOf('user-000000', 1_024);
  return {
    peer: {
      read: () => visit,
      change: async () => {},
      login: async () => {},
      logout: async () => {},
    },
  };
}
