require('reflect-metadata');
const common = require('@nestjs/common');
const core = require('@nestjs/core');
const { ExpressAdapter } = require('@nestjs/platform-express');
const { FastifyAdapter } = require('@nestjs/platform-fastify');
const rxjs = require('rxjs');
const library = require('nestjs-distributed-session');
const scenario = require('./scenario.cjs');

(async () => {
  const redis = process.env.REDIS_URL;
  for (const adapter of [new ExpressAdapter(), new FastifyAdapter()]) {
    await scenario({ common, core, rxjs, adapter, library, redis });
  }
  console.log('done');
})().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
