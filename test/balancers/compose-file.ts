import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { ROOT } from '../docs/pages.js';

/** What a service of a compose file has, as far as this project's file has it. */
export interface Service {
  readonly image: string;
  readonly command?: string | readonly string[];
  readonly profiles?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly volumes?: readonly string[];
  readonly networks?: Readonly<Record<string, { readonly ipv4_address?: string }>>;
  readonly configs?: readonly { readonly source: string }[];
  readonly depends_on?: Readonly<Record<string, Dependency>>;
  readonly healthcheck?: { readonly test: readonly string[] };
  readonly restart?: string;
  readonly mem_limit?: string;
}

export interface Dependency {
  readonly condition: 'service_healthy' | 'service_completed_successfully';
  readonly required?: boolean;
}

export interface ComposeFile {
  readonly services: Readonly<Record<string, Service>>;
  readonly volumes: Readonly<Record<string, null>>;
  readonly networks: Readonly<Record<string, unknown>>;
  readonly configs: Readonly<Record<string, { readonly content: string }>>;
}

type Variables = Readonly<Record<string, string | undefined>>;

/** Reads it as compose does: with anchors merged and variables put in. */
export function readComposeFile(variables: Variables): ComposeFile {
  const text = readFileSync(join(ROOT, 'sample/docker-compose.yml'), 'utf8');
  return interpolated(parse(text, { merge: true }), variables) as ComposeFile;
}

/** `$$` stands for a dollar; `${NAME:?why}` must be given. Nothing else is used. */
function interpolated(value: unknown, variables: Variables): unknown {
  if (typeof value === 'string') {
    return value.replace(/\$(?:\$|\{(\w+):\?([^}]*)\}|(.?))/g, (all, name?: string) => {
      if (all === '$$') return '$';
      const given = name === undefined ? undefined : variables[name];
      if (given === undefined) throw new Error(`compose would ask what ${all} is`);
      return given;
    });
  }
  if (Array.isArray(value)) return value.map((one) => interpolated(one, variables));
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).map(([key, one]) => [key, interpolated(one, variables)]);
  return Object.fromEntries(entries) as unknown;
}

/** The words of its command. */
export function wordsOf({ command = [] }: Service): readonly string[] {
  return typeof command === 'string' ? command.split(' ') : command;
}
