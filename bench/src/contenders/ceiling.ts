import type { Setup } from './contender.js';
import { DEVICES, visitOf } from '../visit.js';

/** No session at all: what the application itself costs. Whoever asks is the same user. */
export function ceiling(): Setup {
  const visit = visitOf('user-000000', 1_024);
  const device = { handle: 'x'.repeat(45), createdAt: 1, expiresAt: 2, address: '127.0.0.1' };
  const devices = Array.from({ length: DEVICES }, () => device);
  return {
    peer: {
      read: () => visit,
      change: async () => {},
      login: async () => {},
      logout: async () => {},
      devices: async () => devices,
    },
  };
}
