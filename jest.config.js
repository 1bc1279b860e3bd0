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

const base = {
  rootDir: import.meta.dirname,
  testEnvironment: 'node',
  extensionsToTreatAsEsm: ['.ts'],
  moduleFileExtensions: ['ts', 'js', 'json', 'node'],
  moduleNameMapper: {
    '^nestjs-distributed-session$': '<rootDir>/lib/index.ts',
    '^nestjs-distributed-session/testing$': '<rootDir>/lib/testing/index.ts',
    '^(\\.{1,2}/.*)\\.js$': '$1',
  },
  transform: { '^.+\\.ts$': swc },
};

/** @type {import('jest').Config} */
export default {
  collectCoverageFrom: ['lib/**/*.ts'],
  coverageProvider: 'v8',
  workerIdleMemoryLimit: '512MB',
  testTimeout: 60_000,
  projects: [
    {
      ...base,
      displayName: 'test',
      testMatch: ['<rootDir>/test/**/*.spec.ts'],
      testPathIgnorePatterns: ['<rootDir>/test/dist/'],
    },
    // The packed package in projects of its own; needs the registry.
    { ...base, displayName: 'dist', testMatch: ['<rootDir>/test/dist/**/*.spec.ts'] },
  ],
};
