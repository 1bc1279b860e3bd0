import assert from 'node:assert/strict';

const base = 'nestjs-distributed-session';
/** What each offers, and the package that it needs beside those of the main entry. */
const SUBPATHS = {
  testing: ['describeSessionStore'],
  cookie: ['sealedCookie'],
  jwt: ['jwtSession', 'JwtSessionGuard'],
  file: ['FileSessionStore'],
  tiered: ['tieredStore'],
  migration: ['connectRedis', 'fastifySession'],
  dashboard: ['SessionDashboardModule'],
  backup: ['backupSessions', 'restoreSessions'],
  sql: ['SqlSessionStore', 'kysely'],
  telemetry: ['openTelemetry', '@opentelemetry/api'],
  terminus: ['SessionHealthIndicator', '@nestjs/terminus'],
};
const OPTIONAL = ['kysely', '@opentelemetry/api', '@nestjs/terminus'];
const hasPeers = process.argv[2] === 'with-peers';

for (const [path, names] of Object.entries(SUBPATHS)) {
  const peer = names.find((name) => OPTIONAL.includes(name));
  const loading = import(`${base}/${path}`);
  if (peer && !hasPeers) {
    await assert.rejects(loading, { code: 'ERR_MODULE_NOT_FOUND', message: new RegExp(peer) });
    continue;
  }
  const loaded = await loading;
  for (const name of names) if (name !== peer) assert.equal(typeof loaded[name], 'function', name);
}
console.log('done');
