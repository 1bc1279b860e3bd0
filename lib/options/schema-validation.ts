import type { StandardSchemaV1 } from '@standard-schema/spec';
import { validate, type ValidationError } from 'class-validator';
import { SessionDataError } from '../core/session.errors.js';
import type { SessionModuleOptions } from './session-module.options.js';

type Data = Record<string, unknown>;

/** The check that a `schema` stands for. Violations are told by path and rule, never by value. */
export function validatorOf(
  schema: SessionModuleOptions['schema'],
): ((data: Data) => void | Promise<void>) | undefined {
  if (schema === undefined) return undefined;
  return '~standard' in schema ? byStandardSchema(schema) : byClass(schema);
}

function byStandardSchema(schema: StandardSchemaV1) {
  return async (data: Data): Promise<void> => {
    const result = await schema['~standard'].validate({ ...data });
    if (result.issues) {
      throw new SessionDataError(result.issues.map((issue) => `${pathOf(issue)} is not valid`));
    }
  };
}

function pathOf({ path }: StandardSchemaV1.Issue): string {
  const keys = (path ?? []).map((part) => String(typeof part === 'object' ? part.key : part));
  return keys.join('.') || 'the data';
}

function byClass(schema: new () => object) {
  return async (data: Data): Promise<void> => {
    const errors = await validate(await instantiate(schema, data), { forbidUnknownValues: false });
    if (errors.length > 0) throw new SessionDataError(errors.flatMap((error) => rulesOf(error)));
  };
}

/** Nested classes (`@Type`) need class-transformer; without it the attributes are checked as they are. */
async function instantiate(schema: new () => object, data: Data): Promise<object> {
  const transformer = await import('class-transformer').catch(() => undefined);
  return transformer
    ? transformer.plainToInstance(schema, { ...data })
    : Object.assign(new schema(), data);
}

function rulesOf(error: ValidationError, parent = ''): string[] {
  const path = parent + error.property;
  const own = Object.keys(error.constraints ?? {}).map((rule) => `${path} violates ${rule}`);
  return [...own, ...(error.children ?? []).flatMap((child) => rulesOf(child, `${path}.`))];
}
