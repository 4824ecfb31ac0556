/** A command of `blt`: its line in the help, its options, and what it does. */
import type { Arguments, CommandLine, Options } from "./arguments";
import { flagName } from "./arguments";
import type { Terminal } from "./terminal";

export interface Command<O extends Options = Options> extends CommandLine<O> {
  /** One line, for the list of commands. */
  readonly summary: string;
  /** Further paragraphs of the help. */
  readonly details: readonly string[];
  /** Whether it makes files, which it removes when it is ended early. */
  readonly writesFiles?: true;
  /** Ends early, with the signal's reason, when `terminal.signal` is aborted. */
  run(given: Arguments<O>, terminal: Terminal): Promise<void>;
}

/** The text of `blt --help`. */
export function overview(commands: readonly Command[], version: string): string {
  const width = Math.max(...commands.map(({ name }) => name.length));
  const lines = commands.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`);
  return [
    `blt ${version}: patch, score and complete text with a Byte Latent Transformer.`,
    "",
    "Usage: blt COMMAND [OPTION...]",
    "",
    "Commands:",
    ...lines,
    "",
    '"blt COMMAND --help" lists a command\'s options.',
    "",
  ].join("\n");
}

/** The text of `blt COMMAND --help`. */
export function commandHelp({ name, positionals, summary, details, options }: Command): string {
  const flags = Object.entries(options).map(([key, { value, help }]) => ({
    flag: value === null ? flagName(key) : `${flagName(key)} ${value}`,
    help,
  }));
  const all = [...flags, { flag: "--help, -h", help: "show this text" }];
  const width = Math.max(...all.map(({ flag }) => flag.length));
  return [
    `Usage: blt ${name} ${positionals.usage} [OPTION...]`,
    "",
    `${summary[0].toUpperCase()}${summary.slice(1)}.`,
    ...details.flatMap((paragraph) => hanging("", paragraph)),
    "",
    "Options:",
    ...all.flatMap(({ flag, help }) => hanging(`  ${flag.padEnd(width)}  `, help)),
    "",
  ].join("\n");
}

const lineWidth = 100;

/** Words of `text` in lines behind `lead`, whose width the further lines keep free. */
function hanging(lead: string, text: string): string[] {
  const lines: string[] = [];
  let line = lead;
  let filled = false;
  for (const word of text.split(" ")) {
    if (filled && line.length + 1 + word.length > lineWidth) {
      lines.push(line);
      line = " ".repeat(lead.length);
      filled = false;
    }
    line += filled ? ` ${word}` : word;
    filled = true;
  }
  return [...lines, line];
}
