#!/usr/bin/env node
import { systemClock } from '../core/clock.js';
import { runProgram } from './program.js';

const { stdout, stderr, stdin, env } = process;
const now = () => systemClock.now();
process.exitCode = await runProgram(process.argv.slice(2), { stdout, stderr, stdin, env, now });
