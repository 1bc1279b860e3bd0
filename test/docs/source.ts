import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';
import { ROOT } from './pages.js';

/** A source file of the library, as the compiler reads it. */
export function sourceOf(path: string): ts.SourceFile {
  const text = readFileSync(join(ROOT, path), 'utf8');
  return ts.createSourceFile(path, text, ts.ScriptTarget.ES2023, true);
}

/** Names and types of an interface's members; overloads once. */
export function membersOfInterface(path: string, name: string): Map<string, string> {
  const file = sourceOf(path);
  const found = file.statements
    .filter(ts.isInterfaceDeclaration)
    .find((it) => it.name.text === name);
  if (!found) throw new Error(`${path} has no interface ${name}`);
  return new Map(
    found.members.map((member) => {
      const type = ts.isPropertySignature(member) ? member.type?.getText(file) : undefined;
      return [member.name!.getText(file), (type ?? '').replace(/\s+/g, ' ')];
    }),
  );
}

/** Names of a class's public methods. */
export function methodsOfClass(path: string, name: string): string[] {
  const file = sourceOf(path);
  const found = file.statements.filter(ts.isClassDeclaration).find((it) => it.name?.text === name);
  if (!found) throw new Error(`${path} has no class ${name}`);
  const methods = found.members.filter(ts.isMethodDeclaration);
  return methods
    .map((it) => it.name)
    .filter(ts.isIdentifier)
    .map((it) => it.text);
}

/** Names that a file exports as values, with the files that they come from. */
export function valueExports(path: string): Map<string, string> {
  const names = new Map<string, string>();
  for (const statement of sourceOf(path).statements) {
    if (!ts.isExportDeclaration(statement) || statement.isTypeOnly) continue;
    const { exportClause: clause, moduleSpecifier: from } = statement;
    if (!clause || !ts.isNamedExports(clause) || !from || !ts.isStringLiteral(from)) continue;
    for (const { name, isTypeOnly } of clause.elements) {
      if (!isTypeOnly) names.set(name.text, from.text);
    }
  }
  return names;
}

/** Members of a union of string literals. */
export function literalsOfUnion(path: string, name: string): string[] {
  const aliases = sourceOf(path).statements.filter(ts.isTypeAliasDeclaration);
  const type = aliases.find((it) => it.name.text === name)?.type;
  if (!type || !ts.isUnionTypeNode(type)) throw new Error(`${path} has no union ${name}`);
  return type.types.filter(ts.isLiteralTypeNode).map((it) => it.getText().slice(1, -1));
}

/** Classes by the `code` that they give their instances. */
export function classesByCode(path: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const statement of sourceOf(path).statements.filter(ts.isClassDeclaration)) {
    const code = statement.members.find(
      (it) => ts.isPropertyDeclaration(it) && it.name.getText() === 'code' && it.initializer,
    ) as ts.PropertyDeclaration | undefined;
    if (code) found.set(code.initializer!.getText().slice(1, -1), statement.name!.text);
  }
  return found;
}
