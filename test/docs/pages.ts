import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export const ROOT = join(import.meta.dirname, '../..');

/**
 * A fenced block. Comments in front of it say what a reader need not see:
 * `<!-- file: NAME -->`, the name under which other blocks of the page import it, and
 * `<!-- given … -->`, statements that it takes for granted.
 */
export interface Block {
  readonly page: string;
  /** Of its first line in the page, from 1. */
  readonly line: number;
  readonly language: string;
  readonly text: string;
  readonly file: string | undefined;
  readonly given: string;
}

export interface Page {
  readonly path: string;
  readonly text: string;
  readonly blocks: readonly Block[];
}

/** README.md and all guides. */
export function readPages(): Page[] {
  const guides = readdirSync(join(ROOT, 'docs')).filter((name) => name.endsWith('.md'));
  return ['README.md', ...guides.sort().map((name) => `docs/${name}`)].map((path) => {
    const text = readFileSync(join(ROOT, path), 'utf8');
    return { path, text, blocks: blocksIn(path, text) };
  });
}

const FENCE = /((?:<!--(?:(?!-->)[^])*-->\s*)*)^```(\S*)\n([^]*?)^```$/gm;

function blocksIn(page: string, text: string): Block[] {
  return [...text.matchAll(FENCE)].map((match) => {
    const [, comments = '', language = '', body = ''] = match;
    const start = match.index + match[0].indexOf('```', comments.length);
    return {
      page,
      line: lineAt(text, start) + 1,
      language,
      text: body,
      file: /<!-- file: (\S+) -->/.exec(comments)?.[1],
      given: /<!-- given\n([^]*?)-->/.exec(comments)?.[1] ?? '',
    };
  });
}

const lineAt = (text: string, offset: number): number => text.slice(0, offset).split('\n').length;

/** Rows of the table under `<!-- table: NAME -->`, its heading left out; cells as they are written. */
export function tableRows(text: string, name: string): string[][] {
  const after = text.split(`<!-- table: ${name} -->\n`)[1];
  if (after === undefined) throw new Error(`no table "${name}"`);
  return rowsOf(after);
}

/** Rows of the first table in a text, its heading left out. */
export function rowsOf(text: string): string[][] {
  const lines = text.split('\n');
  const from = lines.findIndex((line) => line.startsWith('|'));
  const to = lines.findIndex((line, i) => i > from && !line.startsWith('|'));
  return lines.slice(from + 2, to < 0 ? undefined : to).map(cellsOf);
}

function cellsOf(line: string): string[] {
  const cells = line.split(/(?<!\\)\|/).slice(1, -1);
  return cells.map((cell) => cell.trim().replaceAll('\\|', '|'));
}

/** What stands in backticks. */
export const codeIn = (cell: string): string[] =>
  [...cell.matchAll(/`([^`]+)`/g)].map((match) => match[1] as string);

/** Anchors of a page's headings, as hosts of repositories make them. */
export function anchorsOf(text: string): string[] {
  const prose = text.replace(FENCE, '');
  return [...prose.matchAll(/^#+ (.+)$/gm)].map((match) =>
    (match[1] as string)
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );
}

/** Where the links of a page lead that do not leave the repository. */
export function relativeLinks(text: string): string[] {
  const links = text.replace(FENCE, '').matchAll(/\]\(([^)\s]+)\)/g);
  return [...links].map((match) => match[1] as string).filter((to) => !/^[a-z]+:/.test(to));
}

export const existsInRoot = (path: string): boolean => existsSync(join(ROOT, path));
