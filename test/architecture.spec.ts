import { describe, expect, it } from '@jest/globals';
import { readdirSync, readFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { join, posix, relative } from 'node:path';
import ts from 'typescript';

/** Which rooms a room may import from; a room may always import from itself. */
const ROOMS: Record<string, readonly string[]> = {
  core: [],
  'session.constants.ts': [],
  security: ['core'],
  options: ['core', 'stores/redis/redis-client.ts'],
  stores: ['core', 'security'],
  events: ['core', 'session.constants.ts'],
  http: ['core', 'security', 'options', 'session.constants.ts'],
  access: ['core', 'security', 'events', 'http', 'session.constants.ts'],
  sockets: ['core', 'security', 'events', 'http', 'access'],
  tokens: ['core', 'security', 'http', 'access', 'session.constants.ts'],
  telemetry: ['core'],
  doctor: ['core', 'stores/redis'],
  health: ['core', 'doctor', 'stores/redis', 'session.constants.ts', 'door'],
  dashboard: ['core', 'security', 'http', 'access', 'events', 'session.constants.ts', 'door'],
  backup: ['core', 'security', 'stores'],
  migration: ['core', 'security', 'stores/redis', 'http', 'session.constants.ts'],
  cli: [
    'core',
    'security',
    'options',
    'stores',
    'events',
    'doctor',
    'backup',
    'session.constants.ts',
    'door',
  ],
  testing: ['core', 'stores', 'http', 'options', 'session.constants.ts', 'door'],
};
const DOOR =
  /^(index|sql|tiered|cookie|jwt|file|migration|telemetry|terminus|dashboard|backup|session\.(module|module-definition|providers|feature-providers|service|event-work|near-caches|observation))\.ts$/;
/** What loads packages that only gateways need, and so nobody else may load. */
const OF_GATEWAYS = /^sockets\/(ws-[\w-]+|[\w-]+\.adapter)\.ts$/;
const WRITERS =
  /^(core\/session-(manager|reader|writer|handover|ending|index)|stores\/near-cache\/near-cache|backup\/entry-restorer)\.ts$/;
const VERBS = ['create', 'save', 'touch', 'delete', 'admit', 'replace', 'endIn'];

interface Import {
  readonly to: string;
  /** Nothing of it is left when the program runs. */
  readonly typeOnly: boolean;
}

/** All files of the library: path inside lib → text. */
type Sources = Readonly<Record<string, string>>;

const root = join(import.meta.dirname, '..', 'lib');
const lib: Sources = Object.fromEntries(
  readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => join(entry.parentPath, entry.name))
    .map((path) => [relative(root, path).replaceAll('\\', '/'), readFileSync(path, 'utf8')]),
);

function roomOf(file: string): string | undefined {
  if (DOOR.test(file)) return 'door';
  const room = file.split('/')[0] as string;
  return room === 'stores'
    ? file.split('/').slice(0, 2).join('/')
    : room in ROOMS
      ? room
      : undefined;
}

function mayImport(from: string, to: string): boolean {
  const [room, other] = [roomOf(from), roomOf(to)];
  if (room === 'door' || room === other) return room !== undefined;
  const allowed = ROOMS[room?.startsWith('stores/') ? 'stores' : (room ?? '')] ?? [];
  return allowed.some((one) => one === to || one === other || other?.startsWith(`${one}/`));
}

interface Inspection {
  readonly problems: string[];
  readonly imports: Import[];
}

const inspections = new Map<string, Inspection>();

/** Everything wrong with one file by itself, and what it imports. */
function inspect(file: string, text: string): Inspection {
  const key = `${file}\n${text}`;
  const known = inspections.get(key) ?? inspectAnew(file, text);
  inspections.set(key, known);
  return known;
}

function inspectAnew(file: string, text: string): Inspection {
  const problems: string[] = [];
  const imports: Import[] = [];
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
  const add = (specifier: ts.Node | undefined, typeOnly: boolean) => {
    if (!specifier) return;
    if (!ts.isStringLiteralLike(specifier))
      return void problems.push(`${file} imports what it computes`);
    const name = specifier.text;
    const path = name.startsWith('.') ? posix.join(posix.dirname(file), name) : name;
    imports.push({ to: name.startsWith('.') ? path.replace(/\.js$/, '.ts') : path, typeOnly });
  };
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) {
      add(node.moduleSpecifier, node.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword);
    } else if (ts.isExportDeclaration(node)) add(node.moduleSpecifier, node.isTypeOnly);
    else if (ts.isImportTypeNode(node)) add((node.argument as ts.LiteralTypeNode).literal, true);
    else if (ts.isCallExpression(node)) {
      const called = node.expression;
      if (called.kind === ts.SyntaxKind.ImportKeyword || called.getText() === 'require') {
        add(node.arguments[0], false);
      } else if (ts.isPropertyAccessExpression(called)) {
        const onStore = /store$/i.test(called.expression.getText());
        const exempt = WRITERS.test(file) || file.startsWith('testing/');
        if (onStore && VERBS.includes(called.name.text) && !exempt) {
          problems.push(`${file} writes to the store: ${called.getText()}`);
        }
      }
    } else if (ts.isPropertyAccessExpression(node)) {
      const read = node.getText();
      if (read === 'Date.now' && file !== 'core/clock.ts') problems.push(`${file} reads the time`);
      if (read.startsWith('console.')) problems.push(`${file} prints`);
    } else if (ts.isNewExpression(node)) {
      const now = node.expression.getText() === 'Date' && !node.arguments?.length;
      if (now && file !== 'core/clock.ts') problems.push(`${file} reads the time`);
    } else if (ts.isStringLiteralLike(node)) {
      const cookie = /^set-cookie$/i.test(node.text) && !file.startsWith('http/');
      if (cookie) problems.push(`${file} writes cookies`);
    } else if (node.kind === ts.SyntaxKind.AnyKeyword) problems.push(`${file} says any`);
    ts.forEachChild(node, visit);
  };
  visit(source);
  const lines = text.trimEnd().split('\n').length;
  if (lines > 350) problems.push(`${file} has ${lines} lines`);
  if (!roomOf(file)) problems.push(`${file} lies in no room`);
  return { problems, imports };
}

function forbiddenImports(file: string, imports: readonly Import[], files: Sources): string[] {
  return imports.flatMap(({ to, typeOnly }) => {
    if (to in files) {
      if (OF_GATEWAYS.test(to) && !OF_GATEWAYS.test(file))
        return [`${file} loads packages of gateways by ${to}`];
      if (/(^|\/)index\.ts$/.test(to))
        return file.endsWith('index.ts') ? [] : [`${file} imports ${to}`];
      return mayImport(file, to) ? [] : [`${file} must not import ${to}`];
    }
    const builtin = to.startsWith('node:') && builtinModules.includes(to.slice('node:'.length));
    if (to.startsWith('.') || to.endsWith('.ts'))
      return [`${file} imports ${to}, which is not there`];
    if (/^(core\/|session\.constants)/.test(file) && !builtin)
      return [`${file} imports package ${to}`];
    const ofGateways = /^(@nestjs\/(websockets|platform-)|socket\.io|ws$)/.test(to);
    if (ofGateways && !OF_GATEWAYS.test(file)) return [`${file} loads packages of gateways`];
    const driver = to === 'ioredis' && !typeOnly && !file.startsWith('stores/redis/');
    return driver ? [`${file} loads the driver`] : [];
  });
}

function circlesIn(graph: ReadonlyMap<string, readonly Import[]>): string[] {
  const done = new Set<string>();
  const walk = (file: string, path: readonly string[]): string[] => {
    if (path.includes(file))
      return [`circle: ${[...path.slice(path.indexOf(file)), file].join(' → ')}`];
    if (done.has(file)) return [];
    const found = (graph.get(file) ?? []).flatMap(({ to }) => walk(to, [...path, file]));
    done.add(file);
    return found;
  };
  return [...graph.keys()].flatMap((file) => walk(file, []));
}

function problemsIn(files: Sources): string[] {
  const inspected = Object.entries(files).map(([file, text]) => ({ file, ...inspect(file, text) }));
  const graph = new Map(inspected.map(({ file, imports }) => [file, imports]));
  const alone = inspected.flatMap(({ problems }) => problems);
  const between = inspected.flatMap((one) => forbiddenImports(one.file, one.imports, files));
  return [...alone, ...between, ...circlesIn(graph)];
}

describe('the house', () => {
  it('keeps its rules', () => {
    expect(Object.keys(lib).length).toBeGreaterThan(40);
    expect(problemsIn(lib)).toEqual([]);
  });

  const clock = "import type { Clock } from '../core/clock.js';";

  it.each<[rule: string, file: string, text: string, problem: string]>([
    [
      'core knows no other room',
      'core/x.ts',
      "import '../http/header.transport.js';",
      'core/x.ts must not import http/header.transport.ts',
    ],
    [
      'core knows no other room by type',
      'core/x.ts',
      "import type { A } from '../session.constants.js';",
      'core/x.ts must not import session.constants.ts',
    ],
    [
      'core knows no other room by an inline type',
      'core/x.ts',
      "let a: import('../security/keyring.js').Keyring;",
      'core/x.ts must not import security/keyring.ts',
    ],
    [
      'core knows no other room by passing on',
      'core/x.ts',
      "export * from '../security/keyring.js';",
      'core/x.ts must not import security/keyring.ts',
    ],
    [
      'core uses no package',
      'core/x.ts',
      "import type { A } from '@nestjs/common';",
      'core/x.ts imports package @nestjs/common',
    ],
    [
      'core uses no package late',
      'core/x.ts',
      "await import('rxjs');",
      'core/x.ts imports package rxjs',
    ],
    [
      'constants import nothing of ours',
      'session.constants.ts',
      "import './core/clock.js';",
      'session.constants.ts must not import core/clock.ts',
    ],
    [
      'constants import no package',
      'session.constants.ts',
      "import 'rxjs';",
      'session.constants.ts imports package rxjs',
    ],
    [
      'security knows core only',
      'security/x.ts',
      "import '../options/schema-validation.js';",
      'security/x.ts must not import options/schema-validation.ts',
    ],
    [
      'options know of stores only the client',
      'options/x.ts',
      "import '../stores/redis/redis-keys.js';",
      'options/x.ts must not import stores/redis/redis-keys.ts',
    ],
    [
      'a store knows no other store',
      'stores/memory/x.ts',
      "import '../redis/redis-keys.js';",
      'stores/memory/x.ts must not import stores/redis/redis-keys.ts',
    ],
    [
      'a store knows no options',
      'stores/redis/x.ts',
      "import '../../options/schema-validation.js';",
      'stores/redis/x.ts must not import options/schema-validation.ts',
    ],
    [
      'http knows no store',
      'http/x.ts',
      "import '../stores/memory/memory-session.store.js';",
      'http/x.ts must not import stores/memory/memory-session.store.ts',
    ],
    [
      'http knows no decorators',
      'http/x.ts',
      "import '../access/session-of.js';",
      'http/x.ts must not import access/session-of.ts',
    ],
    [
      'access knows no options',
      'access/x.ts',
      "import '../options/schema-validation.js';",
      'access/x.ts must not import options/schema-validation.ts',
    ],
    [
      'access does not come in by the door',
      'access/x.ts',
      "import '../session.service.js';",
      'access/x.ts must not import session.service.ts',
    ],
    [
      'testing knows no decorators',
      'testing/x.ts',
      "import '../access/session-of.js';",
      'testing/x.ts must not import access/session-of.ts',
    ],
    [
      'nobody imports an index',
      'session.x.ts',
      "import './index.js';",
      'session.x.ts imports index.ts',
    ],
    [
      'nobody imports an index of a room',
      'testing/x.ts',
      "import './index.js';",
      'testing/x.ts imports testing/index.ts',
    ],
    [
      'every import leads somewhere',
      'core/x.ts',
      "import './y.js';",
      'core/x.ts imports core/y.ts, which is not there',
    ],
    [
      'every import can be read',
      'http/x.ts',
      'await import(name);',
      'http/x.ts imports what it computes',
    ],
    ['there are no other rooms', 'utils/x.ts', 'export {};', 'utils/x.ts lies in no room'],
    [
      'the driver is loaded by its store only',
      'options/x.ts',
      "import { Redis } from 'ioredis';",
      'options/x.ts loads the driver',
    ],
    [
      'an import of types among others loads the driver, too',
      'options/x.ts',
      "import { type Redis } from 'ioredis';",
      'options/x.ts loads the driver',
    ],
    [
      'the driver is not loaded late',
      'http/x.ts',
      "await import('ioredis');",
      'http/x.ts loads the driver',
    ],
    [
      'only the manager writes',
      'http/x.ts',
      'this.#store.save(a, b, c);',
      'http/x.ts writes to the store: this.#store.save',
    ],
    [
      'not even the service writes',
      'session.service.ts',
      'await store.delete(handle);',
      'session.service.ts writes to the store: store.delete',
    ],
    [
      'time comes from the clock',
      'core/x.ts',
      'const now = Date.now();',
      'core/x.ts reads the time',
    ],
    [
      'time comes from the clock even as a date',
      'http/x.ts',
      'const now = new Date();',
      'http/x.ts reads the time',
    ],
    [
      'time does not come by a reference',
      'http/x.ts',
      'const now = Date.now;',
      'http/x.ts reads the time',
    ],
    [
      'sockets know no options',
      'sockets/x.ts',
      "import '../options/schema-validation.js';",
      'sockets/x.ts must not import options/schema-validation.ts',
    ],
    [
      'packages of gateways are loaded for gateways only',
      'sockets/x.ts',
      "import { WsException } from '@nestjs/websockets';",
      'sockets/x.ts loads packages of gateways',
    ],
    [
      'nor are they by way of others, not even by the door',
      'session.x.ts',
      "import './sockets/session-ws.adapter.js';",
      'session.x.ts loads packages of gateways by sockets/session-ws.adapter.ts',
    ],
    ['files are short', 'core/x.ts', 'export {};\n'.repeat(351), 'core/x.ts has 351 lines'],
    ['nobody prints', 'session.module.ts', "console.log('x');", 'session.module.ts prints'],
    ['types are told', 'http/x.ts', 'const x: Record<string, any> = {};', 'http/x.ts says any'],
    [
      'cookies are http',
      'access/x.ts',
      "response.header('set-cookie', x);",
      'access/x.ts writes cookies',
    ],
  ])('%s', (_, file, text, problem) => {
    expect(problemsIn({ ...lib, [file]: text })).toContain(problem);
  });

  it('has no circles, not even of types', () => {
    const files = {
      ...lib,
      'core/x.ts': "import type { Y } from './y.js';",
      'core/y.ts': "import type { X } from './z.js';",
      'core/z.ts': "import './x.js';",
    };
    expect(problemsIn(files)).toEqual(['circle: core/x.ts → core/y.ts → core/z.ts → core/x.ts']);
  });

  it('lets rooms do what they may', () => {
    const files = {
      ...lib,
      'stores/redis/x.ts': `import { Redis } from 'ioredis'; import '../../security/keyring.js';`,
      'http/x.ts': `${clock} import type { Redis } from 'ioredis'; const at = new Date(0);`,
      'access/x.ts': `${clock} import '../http/session-host.js'; import '../session.constants.js';`,
      'testing/x.ts': `${clock} import '../session.module.js'; store.save(a, b, c);`,
      'core/session-writer.ts': 'export const write = () => store.save(a, b, c);',
    };
    expect(problemsIn(files)).toEqual([]);
  });
});
