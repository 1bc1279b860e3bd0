import 'reflect-metadata';
import * as common from '@nestjs/common';
import * as core from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import * as rxjs from 'rxjs';
import * as library from 'nestjs-distributed-session';
import scenario from './scenario.cjs';

const redis = process.env.REDIS_URL;
for (const adapter of [new ExpressAdapter(), new FastifyAdapter()]) {
  await scenario({ common, core, rxjs, adapter, library, redis });
}
console.log('done');
