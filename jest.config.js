import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';

const swc = [
  '@swc/jest',
  {
    swcrc: false,
    jsc: {
      target: 'es2022',
      parser: { syntax: 'typescript', decorators: true },
      transform: { legacyDecorator: true, decoratorMetadata: true, useDefineForClassFields: true },
      keepClassNames: true,
    },
    module: { type: 'es6' },
    sourceMaps: 'inline',
  },
];

// What needs a server that this machine lacks is left out in plain sight; the gate installs it.
const needsRedis = [
  'access',
  'attacks',
  'backup',
  'balancers',
  'cli',
  'contexts',
  'dashboard',
  'docs',
  'e2e',
  'events',
  'faults',
  'health',
  'migration',
  'near-cache',
  'sample',
  'sockets',
  'stores',
  'telemetry',
  'tokens',
  'topologies',
];
// Debian has some where not everybody looks.
const path = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin'];
const has = (program) => path.some((folder) => existsSync(join(folder, program)));
const missing = [
  ['redis-server', 'brew install redis, or REDIS_SERVER_BIN', needsRedis],
  ['nginx', 'brew install nginx', ['balancers']],
  ['haproxy', 'brew install haproxy', ['balancers']],
  ['wapiti', 'pipx install wapiti3', ['attacks/scanner.spec.ts']],
].filter(
  ([program]) => !has(program) && !(program === 'redis-server' && process.env.REDIS_SERVER_BIN),
);
const skipped = process.env.CI ? [] : [...new Set(missing.flatMap(([, , folders]) => folders))];
if (skipped.length > 0) {
  const remedies = missing.map(
    ([program, others]) => `${program} (apt-get install ${program}, ${others})`,
  );
  console.warn(
    `missing: ${remedies.join('; ')}: SKIPPED ${skipped.map((folder) => `test/${folder}`).join(', ')}`,
  );
}

/** @type {import('jest').Config} */
export default {
  rootDir: import.meta.dirname,
  testEnvironment: 'node',
  testMatch: ['<rootDir>/test/**/*.spec.ts'],
  testPathIgnorePatterns: ['dist', ...skipped].map((name) => `<rootDir>/test/${name}(/|$)`),
  testTimeout: 60_000,
  workerIdleMemoryLimit: '512MB',
  extensionsToTreatAsEsm: ['.ts'],
  moduleFileExtensions: ['ts', 'js', 'json', 'node'],
  moduleNameMapper: {
    '^nestjs-distributed-session$': '<rootDir>/lib/index.ts',
    '^nestjs-distributed-session/testing$': '<rootDir>/lib/testing/index.ts',
    '^nestjs-distributed-session/ws$': '<rootDir>/lib/sockets/session-ws.adapter.ts',
    '^nestjs-distributed-session/socket.io$': '<rootDir>/lib/sockets/session-io.adapter.ts',
    '^nestjs-distributed-session/(sql|tiered|cookie|jwt|file|migration|telemetry|terminus|dashboard|backup)$': '<rootDir>/lib/$1.ts',
    '^(\\.{1,2}/.*)\\.js$': '$1',
  },
  transform: { '^.+\\.ts$': swc },
  collectCoverageFrom: ['lib/**/*.ts'],
  coverageProvider: 'v8',
};
