/** `blt`: finds the command, runs it, and turns its end into an exit code (0 done, 1 defect, 2 wrong use, 130 Ctrl-C). */
import { version } from "../../package.json";
import { UserError } from "../errors";
import { parseArguments } from "./arguments";
import { calibrateCommand } from "./calibrate";
import { type Command, commandHelp, overview } from "./command";
import { convertCommand } from "./convert";
import { evalCommand } from "./eval";
import { finetuneCommand } from "./finetune";
import { generateCommand } from "./generate";
import { inspectCommand } from "./inspect";
import { logitsCommand } from "./logits";
import { patchCommand } from "./patch";
import { quantizeCommand } from "./quantize";
import { reportCommand } from "./report";
import { createTerminal, type Terminal } from "./terminal";

const commands: readonly Command[] = [
  patchCommand,
  logitsCommand,
  evalCommand,
  reportCommand,
  generateCommand,
  finetuneCommand,
  inspectCommand,
  quantizeCommand,
  convertCommand,
  calibrateCommand,
];

/** Why a command was ended from outside. */
class Interruption extends Error {
  constructor(readonly exitCode: number) {
    super("interrupted");
  }
}

async function main(argv: string[]): Promise<number> {
  const controller = new AbortController();
  const { signal } = controller;
  const command = commands.find(({ name }) => name === argv[0]);
  for (const [name, exitCode] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const) {
    process.on(name, () => {
      // Loading networks cannot be aborted, and is not worth waiting for where there is nothing to tidy up.
      if (signal.aborted || !command?.writesFiles) endAtOnce(exitCode);
      controller.abort(new Interruption(exitCode));
    });
  }
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    // The reader has gone away (`| head`): there is nobody to tell.
    controller.abort(error.code === "EPIPE" ? new Interruption(0) : outputError(error));
  });
  const terminal = createTerminal(process.stdout, process.stderr, signal, process.env);
  try {
    const exitCode = await dispatch(argv, command, terminal);
    await new Promise<void>((resolve) => process.stdout.write("", () => resolve()));
    signal.throwIfAborted();
    return exitCode;
  } catch (error) {
    return report(signal.aborted ? signal.reason : error, terminal);
  }
}

/** Leaves no line of progress behind. */
function endAtOnce(exitCode: number): never {
  if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
  process.exit(exitCode);
}

async function dispatch(argv: string[], command: Command | undefined, terminal: Terminal): Promise<number> {
  const [name, ...rest] = argv;
  if (name === undefined) {
    process.stderr.write(overview(commands, version));
    return 2;
  }
  if (command !== undefined) {
    const given = parseArguments(command, rest);
    if (given === null) await terminal.write(commandHelp(command));
    else await command.run(given, terminal);
  } else if (name === "--help" || name === "-h") await terminal.write(overview(commands, version));
  else if (name === "--version") await terminal.write(`${version}\n`);
  else {
    const names = commands.map((candidate) => candidate.name).join(", ");
    throw new UserError(`There is no command "${name}"; the commands are ${names}.`);
  }
  return 0;
}

function report(error: unknown, terminal: Terminal): number {
  if (error instanceof Interruption) return error.exitCode;
  if (error instanceof UserError) {
    terminal.notice(error.message);
    return 2;
  }
  const { message, stack } = error instanceof Error ? error : new Error(String(error));
  if (process.env.BLT_DEBUG) process.stderr.write(`${stack}\n`);
  else {
    const firstLine = message.split("\n")[0].replace(/\.$/, "");
    terminal.notice(`Internal error: ${firstLine}. Set BLT_DEBUG=1 for the details, and please report it.`);
  }
  return 1;
}

function outputError({ code }: NodeJS.ErrnoException): UserError {
  const reason = code === "ENOSPC" ? "the disk is full" : code;
  return new UserError(`The output cannot be written (${reason}); nothing more was written.`);
}

main(process.argv.slice(2)).then((exitCode) => {
  process.exitCode = exitCode;
});
