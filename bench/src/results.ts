import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Adapter } from './contenders/contender.js';
import type { ContenderName } from './contenders/index.js';
import type { Count } from './count.js';
import type { Growth } from './growth.js';
import type { Limits } from './limits.js';
import type { Machine } from './machine.js';
import type { Scenario } from './scenario.js';
import type { StoreAbilities } from '../../dist/index.js';

/** Bytes that Redis needs for one stored session. */
export interface Footprint {
  readonly contender: ContenderName;
  readonly adapter: Adapter;
  /** Size of the session's data. */
  readonly bytes: number;
  readonly stored: number;
}

/** What reads from a near cache cost. */
export interface NearResults {
  readonly machine: Machine;
  readonly scenarios: readonly Scenario[];
  readonly counts: readonly Count[];
}

/** What a store says that it can do. */
export type Abilities = Pick<StoreAbilities, 'revocation'>;

/** What one store takes and can do. */
export interface StoreFacts {
  readonly contender: ContenderName;
  readonly abilities: Abilities;
  /** Bytes of the cookie header of each request. */
  readonly cookie: number;
  /** Bytes that one session takes, where it takes any. */
  readonly kept: {
    readonly redis?: number;
    /** In its database or directory. */
    readonly place?: number;
    /** In the node's own memory. */
    readonly node?: number;
  };
  /** Bytes in Redis that one logout leaves, where logouts are listed. */
  readonly ended?: number;
}

/** This library's stores beside each other. */
export interface StoresResults {
  readonly machine: Machine;
  /** Database → version. */
  readonly databases: Readonly<Record<string, string>>;
  /** Size of the session's data. */
  readonly bytes: number;
  readonly scenarios: readonly Scenario[];
  readonly counts: readonly Count[];
  readonly facts: readonly StoreFacts[];
}

/** Everything that one full run has found out; the report is made from it. */
export interface Results {
  readonly machine: Machine;
  readonly scenarios: readonly Scenario[];
  readonly counts: readonly Count[];
  readonly footprints: readonly Footprint[];
  readonly growth: readonly Growth[];
  readonly limits: Limits;
  readonly near: NearResults;
  readonly stores?: StoresResults;
}

const FILE = join(import.meta.dirname, '..', 'results.json');

export const readResults = (): Results => JSON.parse(readFileSync(FILE, 'utf8')) as Results;

export const writeResults = (results: Results): void =>
  writeFileSync(FILE, `${JSON.stringify(results, rounded, 1)}\n`);

/** Digits that mean nothing are left out. */
const rounded = (_key: string, value: unknown): unknown =>
  typeof value === 'number' ? Math.round(value * 1_000) / 1_000 : value;
