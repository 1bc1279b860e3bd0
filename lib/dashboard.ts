export { SessionDashboardModule } from './dashboard/session-dashboard.module.js';
export type { SessionDashboardOptions } from './dashboard/dashboard.options.js';
