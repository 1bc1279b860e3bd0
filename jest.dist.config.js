import base from './jest.config.js';

/** The packed package in projects of its own; needs the registry. */
export default {
  ...base,
  testMatch: ['<rootDir>/test/dist/**/*.spec.ts'],
  testPathIgnorePatterns: [],
};
