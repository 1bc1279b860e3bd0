import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import ts from 'typescript';
import { ROOT, type Block } from './pages.js';

const folderOf = ({ page }: Block): string => page.replace('.md', '');
const fileOf = (block: Block): string => block.file ?? `line-${block.line}.ts`;

/** What the compiler has to say about blocks, each a module of its own beside its page. */
export function problemsOf(blocks: readonly Block[]): string[] {
  const { config } = ts.readConfigFile(join(ROOT, 'tsconfig.json'), (path) =>
    ts.sys.readFile(path),
  );
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, ROOT);
  const modules = new Map(
    blocks.map((block) => [join(ROOT, 'test/docs/pages', folderOf(block), fileOf(block)), block]),
  );
  const textOf = (path: string): string | undefined => {
    const block = modules.get(path);
    return block && `${block.given}${block.text}\nexport {};\n`;
  };
  const disk = ts.createCompilerHost(options);
  const host: ts.CompilerHost = {
    ...disk,
    fileExists: (path) => modules.has(path) || disk.fileExists(path),
    readFile: (path) => textOf(path) ?? disk.readFile(path),
    directoryExists: (path) =>
      [...modules.keys()].some((it) => it.startsWith(`${path}/`)) ||
      (disk.directoryExists?.(path) ?? true),
    getSourceFile: (path, target, ...rest) => {
      const text = textOf(path);
      if (text === undefined) return disk.getSourceFile(path, target, ...rest);
      return ts.createSourceFile(path, text, target);
    },
  };

  const program = ts.createProgram([...modules.keys()], options, host);
  const diagnostics = [
    ...program.getOptionsDiagnostics(),
    ...program.getGlobalDiagnostics(),
    ...[...modules.keys()].flatMap((path) => {
      const file = program.getSourceFile(path);
      return [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)];
    }),
  ];
  return diagnostics.map(
    (it) => `${placeOf(it, modules)}${ts.flattenDiagnosticMessageText(it.messageText, '\n')}`,
  );
}

function placeOf({ file, start = 0 }: ts.Diagnostic, modules: Map<string, Block>): string {
  const block = file && modules.get(file.fileName);
  if (!block) return '';
  const line = file.getLineAndCharacterOfPosition(start).line;
  return `${block.page}:${block.line + line - (block.given.split('\n').length - 1)}: `;
}

/** The library as a package that is installed beside the blocks, and these compiled. */
export class Installation {
  readonly #folder: string;

  constructor(blocks: readonly Block[]) {
    const cache = join(ROOT, 'node_modules/.cache');
    mkdirSync(cache, { recursive: true });
    this.#folder = mkdtempSync(join(cache, 'docs-'));
    this.#installLibrary();
    this.#write('package.json', '{ "type": "module" }');
    for (const block of blocks) {
      this.#compile(join(folderOf(block), fileOf(block)), `${block.given}${block.text}`);
    }
  }

  /** Where a block is, ready to run. */
  pathOf(block: Block): string {
    return join(this.#folder, scriptName(join(folderOf(block), fileOf(block))));
  }

  remove(): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #installLibrary(): void {
    const folder = 'node_modules/nestjs-distributed-session';
    mkdirSync(join(this.#folder, folder), { recursive: true });
    cpSync(join(ROOT, 'package.json'), join(this.#folder, folder, 'package.json'));
    for (const name of readdirSync(join(ROOT, 'lib'), { recursive: true, encoding: 'utf8' })) {
      if (!name.endsWith('.ts')) continue;
      this.#compile(join(folder, 'dist', name), readFileSync(join(ROOT, 'lib', name), 'utf8'));
    }
  }

  #compile(name: string, text: string): void {
    const compilerOptions: ts.CompilerOptions = {
      target: ts.ScriptTarget.ES2023,
      module: ts.ModuleKind.ESNext,
      experimentalDecorators: true,
      emitDecoratorMetadata: true,
      verbatimModuleSyntax: true,
    };
    this.#write(scriptName(name), ts.transpileModule(text, { compilerOptions }).outputText);
  }

  #write(name: string, text: string): void {
    const path = join(this.#folder, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }
}

const scriptName = (name: string): string => name.replace(/\.ts$/, '.js');
