export {
  SessionHealthIndicator,
  type SessionHealthOptions,
} from './health/session-health.indicator.js';
