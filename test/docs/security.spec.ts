import { describe, expect, it } from '@jest/globals';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';
import { readPages, ROOT, tableRows } from './pages.js';

const page = readPages().find(({ path }) => path === 'docs/SECURITY.md')!;
const CITED = /`([^`]+)` “([^”]+)”/g;
const TABLES = ['asvs', 'attacks'] as const;

interface Cited {
  readonly file: string;
  readonly title: string;
}

/** The tests that a row names. */
function citedIn(row: readonly string[]): Cited[] {
  const cell = row.at(-1)!;
  const cited = [...cell.matchAll(CITED)].map(([, file = '', title = '']) => ({ file, title }));
  // Nothing else may stand there: it would not be looked for.
  if (cell.replace(CITED, '').replace(/[ ·]/g, '') !== '' || cited.length === 0) {
    throw new Error(`"${cell}" is no list of tests`);
  }
  return cited;
}

/** Titles of the tests in a file; those that are put together have a gap for each part that is. */
function titlesIn(file: string): RegExp[] {
  const path = join(ROOT, 'test', file);
  if (!existsSync(path)) return [];
  const source = ts.createSourceFile(path, readFileSync(path, 'utf8'), ts.ScriptTarget.Latest);
  const titles: RegExp[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isCallExpression(node) && IT.test(nameOf(node.expression) ?? '')) {
      const title = node.arguments[0];
      if (title) titles.push(...patternOf(title));
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return titles;
}

/** Some are left out where a run keeps its sessions elsewhere. */
const IT = /^it([A-Z]\w*)?$/;

/** What is called in the end: `it` of `it.each([…])('title')`. */
function nameOf(callee: ts.Node): string | undefined {
  if (ts.isIdentifier(callee)) return callee.text;
  if (ts.isPropertyAccessExpression(callee)) {
    // A test that is left out proves nothing.
    return callee.name.text === 'each' ? nameOf(callee.expression) : undefined;
  }
  return ts.isCallExpression(callee) ? nameOf(callee.expression) : undefined;
}

function patternOf(title: ts.Expression): RegExp[] {
  const exact = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  if (ts.isStringLiteralLike(title)) return [new RegExp(`^${exact(title.text)}$`)];
  if (!ts.isTemplateExpression(title)) return [];
  const rest = title.templateSpans.map(({ literal }) => `.+${exact(literal.text)}`);
  return [new RegExp(`^${exact(title.head.text)}${rest.join('')}$`)];
}

describe('the tables of docs/SECURITY.md', () => {
  it.each(TABLES)('%s: every test that is named exists', (table) => {
    const cited = tableRows(page.text, table).flatMap(citedIn);
    expect(cited.length).toBeGreaterThan(30);
    const missing = cited.filter(
      ({ file, title }) => !titlesIn(file).some((pattern) => pattern.test(title)),
    );
    expect(missing).toEqual([]);
  });

  it('asvs: each requirement once, in order', () => {
    const numbers = tableRows(page.text, 'asvs').map(([number = '']) => number);
    const rank = (number: string) =>
      number.split('.').reduce((sum, part) => sum * 100 + Number(part), 0);
    expect(new Set(numbers).size).toBe(numbers.length);
    expect(numbers).toEqual([...numbers].sort((a, b) => rank(a) - rank(b)));
  });

  it('would notice a test that is renamed, left out or not there', () => {
    const found = (file: string, title: string) =>
      titlesIn(file).some((pattern) => pattern.test(title));
    expect(found('attacks/tokens.spec.ts', 'an id that was made up is never adopted')).toBe(true);
    expect(found('attacks/tokens.spec.ts', 'an id that was made up is never')).toBe(false);
    expect(found('attacks/tokens.spec.ts', 'fixation')).toBe(false);
    expect(found('attacks/none.spec.ts', 'an id that was made up is never adopted')).toBe(false);
    expect(() => citedIn(['something', '`attacks/tokens.spec.ts`'])).toThrow('no list of tests');
  });
});
