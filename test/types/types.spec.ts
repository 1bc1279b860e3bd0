import { describe, expect, it } from '@jest/globals';
import { join } from 'node:path';
import ts from 'typescript';

const root = join(import.meta.dirname, '..', '..');

/** What the compiler says about a file, with the project's settings. */
function complaintsAbout(path: string): string[] {
  const read = (file: string) => ts.sys.readFile(file);
  const { config } = ts.readConfigFile(join(root, 'tsconfig.json'), read) as { config: object };
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root);
  const program = ts.createProgram([path], options);
  const source = program.getSourceFile(path);
  const found = [
    ...program.getSyntacticDiagnostics(source),
    ...program.getSemanticDiagnostics(source),
  ];
  return found.map(({ file, start = 0, messageText }) => {
    const line = (file?.getLineAndCharacterOfPosition(start).line ?? 0) + 1;
    return `line ${line}: ${ts.flattenDiagnosticMessageText(messageText, ' ')}`;
  });
}

describe('declared session data', () => {
  it('types get, set, data, update, decorators and services; wrong uses do not compile', () => {
    expect(complaintsAbout(join(import.meta.dirname, 'session-data.fixture.ts'))).toEqual([]);
  });
});
