/**
 * Typed reading of JSON settings: every value is checked for its type and range where it is read, and what is
 * wrong is said with the key's name, its place, its value and what is allowed.
 */
import { UserError } from "../errors";

/** One JSON object and what to call it in an error, for example `encoder_config of /models/a/config.json`. */
export interface Fields {
  values: Readonly<Record<string, unknown>>;
  where: string;
}

export interface FieldOptions<F> {
  /** Taken when the key is absent or null; without it the key is required. */
  fallback?: F;
  min?: number;
  max?: number;
}

/** The object as fields; throws a `UserError` when it is not an object. */
export function asFields(value: unknown, where: string): Fields {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new UserError(`${where} must be a JSON object, not ${describe(value)}.`);
  }
  return { values: value as Record<string, unknown>, where };
}

/** The object under `name`; null when it is absent or null. */
export function section(fields: Fields, name: string): Fields | null {
  const value = fields.values[name];
  return value === undefined || value === null ? null : asFields(value, `${name} of ${fields.where}`);
}

/** A whole number under the first of `names` (a key and its aliases) that is present. */
export function integer<F = never>(
  fields: Fields,
  names: string | string[],
  options: FieldOptions<F> = {},
): number | F {
  const { min = 1, max = 2 ** 31 - 1 } = options;
  return field(
    fields,
    names,
    options,
    `a whole number from ${min} to ${max}`,
    (value): value is number => Number.isInteger(value) && (value as number) >= min && (value as number) <= max,
  );
}

/** A finite number under the first of `names` that is present. */
export function real<F = never>(fields: Fields, names: string | string[], options: FieldOptions<F> = {}): number | F {
  const { min = Number.NEGATIVE_INFINITY, max = Number.POSITIVE_INFINITY } = options;
  const wanted = min === Number.NEGATIVE_INFINITY ? "a finite number" : `a finite number of at least ${min}`;
  return field(
    fields,
    names,
    options,
    wanted,
    (value): value is number => Number.isFinite(value) && (value as number) >= min && (value as number) <= max,
  );
}

/** `true` or `false` under `name`. */
export function flag<F = never>(fields: Fields, name: string, options: FieldOptions<F> = {}): boolean | F {
  return field(fields, name, options, "true or false", (value): value is boolean => typeof value === "boolean");
}

/** One of the `allowed` words under `name`. */
export function word<T extends string, F = never>(
  fields: Fields,
  name: string,
  allowed: readonly T[],
  options: FieldOptions<F> = {},
): T | F {
  return field(fields, name, options, `one of ${allowed.join(", ")}`, (value): value is T =>
    allowed.includes(value as T),
  );
}

/** A list of whole numbers under `name`, each within the range. */
export function integers<F = never>(fields: Fields, name: string, options: FieldOptions<F> = {}): number[] | F {
  const { min = 1, max = 2 ** 31 - 1 } = options;
  return field(
    fields,
    name,
    options,
    `a list of whole numbers from ${min} to ${max}`,
    (value): value is number[] =>
      Array.isArray(value) && value.every((item) => Number.isInteger(item) && item >= min && item <= max),
  );
}

/**
 * JSON text as a value. Python writes NaN and Infinity, which JSON does not know: they are named by their key,
 * as `JSON.parse` would only point at a character.
 */
export function parseJson(text: string, where: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    const number = /"([^"\\]*)"\s*:\s*(-?Infinity|NaN)\b/.exec(text);
    if (number !== null) {
      throw new UserError(`"${number[1]}" in ${where} is ${number[2]}, but must be a finite number.`);
    }
    throw new UserError(
      `${where} is not valid JSON (${(error as Error).message}); correct it, or fetch the checkpoint again.`,
    );
  }
}

/** A value as an error shows it: short, on one line. */
export function describe(value: unknown): string {
  const text = typeof value === "number" ? String(value) : (JSON.stringify(value) ?? String(value));
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

function field<T, F>(
  fields: Fields,
  names: string | string[],
  options: FieldOptions<F>,
  wanted: string,
  accepts: (value: unknown) => value is T,
): T | F {
  const aliases = typeof names === "string" ? [names] : names;
  for (const name of aliases) {
    const value = fields.values[name];
    if (value === undefined || value === null) continue;
    if (accepts(value)) return value;
    throw new UserError(`"${name}" in ${fields.where} is ${describe(value)}, but must be ${wanted}.`);
  }
  if ("fallback" in options) return options.fallback as F;
  throw new UserError(`"${aliases[0]}" is missing in ${fields.where}; it must be ${wanted}.`);
}
