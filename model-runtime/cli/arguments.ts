/** What stands on a command line after a command's name, read by the command's table of options. */
import { parseArgs } from "node:util";
import { UserError } from "../errors";

/** An option of type T; its flag is its key in the table in kebab case. */
export interface Option<T> {
  /** What stands for the value in the help; null for a switch, which has none. */
  readonly value: string | null;
  readonly help: string;
  /** Reads every value given for the flag, in order; a switch gets "true" or, as `--no-flag`, "false". */
  parse(texts: readonly string[], flag: string): T;
}

export type Options = Readonly<Record<string, Option<unknown>>>;

/** What was given; undefined where nothing was. */
export type Values<O extends Options> = { [K in keyof O]: O[K] extends Option<infer T> ? T | undefined : never };

export interface Arguments<O extends Options> {
  values: Values<O>;
  positionals: string[];
}

/** The shape of a command line. */
export interface CommandLine<O extends Options> {
  readonly name: string;
  readonly positionals: { readonly usage: string; readonly least: number; readonly most: number };
  readonly options: O;
}

/** Reads `argv`; null when help is asked for. UserError that names the argument at fault. */
export function parseArguments<O extends Options>(
  command: CommandLine<O>,
  argv: readonly string[],
): Arguments<O> | null {
  const names = new Map(Object.keys(command.options).flatMap((key) => flagNames(key, command.options[key])));
  const declared = Object.fromEntries(
    [...names].map(([name, { option }]) => [
      name,
      { type: option.value === null ? ("boolean" as const) : ("string" as const), multiple: true },
    ]),
  );
  const { tokens } = parseArgs({
    args: [...argv],
    options: { ...declared, help: { type: "boolean", short: "h" } },
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const texts: Record<string, string[]> = {};
  const positionals: string[] = [];
  if (tokens.some((token) => token.kind === "option" && token.name === "help")) return null;
  for (const token of tokens) {
    if (token.kind === "positional") positionals.push(token.value);
    if (token.kind !== "option") continue;
    const found = names.get(token.name);
    if (found === undefined) throw misused(command, `Unknown option ${token.rawName} for "blt ${command.name}"`);
    const { key, option, text } = found;
    texts[key] ??= [];
    texts[key].push(option.value === null ? switchText(token, text) : valueText(token));
  }
  const { least, most } = command.positionals;
  if (positionals.length < least) throw misused(command, `"blt ${command.name}" needs ${command.positionals.usage}`);
  if (positionals.length > most) {
    throw misused(command, `"blt ${command.name}" does not know what to do with "${positionals[most]}"`);
  }
  const values = Object.fromEntries(
    Object.entries(texts).map(([key, given]) => [key, command.options[key].parse(given, flagName(key))]),
  );
  return { values: values as Values<O>, positionals };
}

/** `maxPatchLength` -> `--max-patch-length`. */
export function flagName(key: string): string {
  return `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** A text; of several the last counts. */
export function text(value: string, help: string): Option<string> {
  return { value, help, parse: (texts) => texts[texts.length - 1] };
}

/** An option that may be given several times. */
export function texts(value: string, help: string): Option<string[]> {
  return { value, help, parse: (given) => [...given] };
}

/** A switch, `--flag` or `--no-flag`. */
export function toggle(help: string): Option<boolean> {
  return { value: null, help, parse: (given) => given[given.length - 1] === "true" };
}

export function choice<T extends string>(value: string, allowed: readonly T[], help: string): Option<T> {
  return single(value, `${help}: ${allowed.join(", ")}`, `one of ${allowed.join(", ")}`, (given) =>
    allowed.find((one) => one === given),
  );
}

export function number(value: string, help: string): Option<number> {
  return single(value, help, "a number", decimal);
}

/** A whole number from `least` on. */
export function wholeNumber(value: string, help: string, least: number): Option<number> {
  return single(value, help, `a whole number of at least ${least}`, (given) => {
    const parsed = decimal(given);
    return parsed !== undefined && Number.isSafeInteger(parsed) && parsed >= least ? parsed : undefined;
  });
}

/** An option whose value may also be `none`, read as null. */
export function orNone<T>({ value, help, parse }: Option<T>): Option<T | null> {
  return {
    value,
    help: `${help}, or none`,
    parse: (given, flag) => (given[given.length - 1] === "none" ? null : parse(given, flag)),
  };
}

/** An option whose last value counts and must be what `wanted` says; `read` gives undefined where it is not. */
function single<T>(value: string, help: string, wanted: string, read: (given: string) => T | undefined): Option<T> {
  return {
    value,
    help,
    parse(given, flag) {
      const last = given[given.length - 1];
      const parsed = read(last);
      if (parsed === undefined) throw new UserError(`${flag} must be ${wanted}, not "${last}".`);
      return parsed;
    },
  };
}

/** Only what people write as a number: no empty text, no hexadecimal, no Infinity, no NaN. */
function decimal(given: string): number | undefined {
  const parsed = Number(given);
  return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(given) && Number.isFinite(parsed) ? parsed : undefined;
}

type Flag = { key: string; option: Option<unknown>; text: string };

/** The names under which an option is found, without dashes. */
function flagNames(key: string, option: Option<unknown>): [string, Flag][] {
  const name = flagName(key).slice(2);
  const flag = { key, option, text: "true" };
  return option.value === null
    ? [
        [name, flag],
        [`no-${name}`, { ...flag, text: "false" }],
      ]
    : [[name, flag]];
}

type OptionToken = { rawName: string; value: string | undefined; inlineValue: boolean | undefined };

function switchText({ rawName, value }: OptionToken, text: string): string {
  if (value !== undefined) throw new UserError(`${rawName} is a switch and takes no value, but got "${value}".`);
  return text;
}

function valueText({ rawName, value, inlineValue }: OptionToken): string {
  if (value === undefined) throw new UserError(`${rawName} needs a value.`);
  // What looks like the next option is one whose value was forgotten.
  if (!inlineValue && value.startsWith("--")) {
    throw new UserError(`${rawName} needs a value; if "${value}" is meant, write ${rawName}=${value}.`);
  }
  return value;
}

function misused(command: CommandLine<Options>, what: string): UserError {
  return new UserError(`${what}; "blt ${command.name} --help" says what it takes.`);
}
