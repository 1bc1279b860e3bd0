import { ValidateBy, ValidateIf, validateSync, type ValidationArguments } from 'class-validator';
import { toMilliseconds } from '../core/duration.js';

/** Optional, and if given it must pass; the message says what is wrong and how to mend it. */
export function Check(remedy: string, validate: (value: unknown) => boolean): PropertyDecorator {
  const check = ValidateBy({
    name: 'option',
    validator: {
      validate,
      defaultMessage: (args?: ValidationArguments) =>
        `${args?.property} ${described(args?.value, args?.property)}: ${remedy}`,
    },
  });
  return (target, property) => {
    ValidateIf((_, value) => value !== undefined)(target, property);
    check(target, property);
  };
}

/** A wrong value as it may be shown: never one that could be a secret. */
function described(value: unknown, property: string | undefined): string {
  if (property === 'secret' || property === 'keys' || property === 'redis') return 'cannot be used';
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') {
    return `is ${JSON.stringify(value)}`;
  }
  if (value === null) return 'is null';
  return Array.isArray(value) ? 'is a list that does not fit' : `is of type ${typeof value}`;
}

export const oneOf = (...allowed: unknown[]) =>
  [
    `use ${allowed.map((value) => JSON.stringify(value)).join(' or ')}`,
    (value: unknown) => allowed.includes(value),
  ] as const;

export const boolean = oneOf(true, false);

const LONGEST = 10 * 365 * 86_400_000;

export function duration(least: number, example: string) {
  return [
    `use a duration such as '${example}', or milliseconds, of at least ${least} ms and at most ten years`,
    (value: unknown) => {
      const milliseconds = toMilliseconds(value) ?? -1;
      return milliseconds >= least && milliseconds <= LONGEST;
    },
  ] as const;
}

export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
export const hasMethods = (value: unknown, ...names: string[]): boolean =>
  isObject(value) && names.every((name) => typeof value[name] === 'function');
export function isCount(value: unknown): boolean {
  return Number.isInteger(value) && (value as number) >= 1;
}

export const asList = (value: unknown): readonly unknown[] =>
  Array.isArray(value) ? value : [value];

/** What is wrong with a group of options. */
export function violations(rules: object, values: object, prefix: string): string[] {
  const known = new Set(Object.keys(rules));
  const unknown = Object.keys(values).filter((name) => !known.has(name));
  const errors = validateSync(Object.assign(rules, values), { forbidUnknownValues: false });
  return [
    ...unknown.map((name) => `${prefix}${name} is no option: use ${[...known].join(', ')}`),
    ...errors.flatMap((error) =>
      Object.values(error.constraints ?? {}).map((message) => prefix + message),
    ),
  ];
}

const KNOWN_SECRETS = /secret|change[-_ ]?me|keyboard cat|password|your[-_ ]/i;
/** The same few characters over and over. */
const REPETITIVE = /^(.{1,16}?)\1+.{0,15}$/s;
const FEWEST_CHARACTERS = 8;

export function areSecrets(value: unknown): boolean {
  const secrets = asList(value);
  if (secrets.length === 0 || new Set(secrets).size !== secrets.length) return false;
  return secrets.every(
    (secret) => typeof secret === 'string' && secret.length >= 32 && !isGuessable(secret),
  );
}

const isGuessable = (secret: string): boolean =>
  KNOWN_SECRETS.test(secret) || REPETITIVE.test(secret) || new Set(secret).size < FEWEST_CHARACTERS;
