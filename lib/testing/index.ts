export { FakeClock } from './fake-clock.js';
export { SessionTesting, type TestClient, type TestLoginOptions } from './session-testing.js';
export {
  SessionTestingModule,
  type SessionTestingModuleOptions,
} from './session-testing.module.js';
export {
  describeSessionStore,
  type SessionStoreSuiteOptions,
  type StoreTestRunner,
} from './store-compliance.js';
export type { StoreToggles } from './store-proof.js';
