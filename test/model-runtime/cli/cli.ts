/** The program itself: bundled as for users, run as a process, in a folder that looks like an installation. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";

const repository = join(__dirname, "../../..");

export interface Outcome {
  code: number | null;
  stdout: string;
  stderr: string;
}

export interface RunOptions {
  /** What stdin holds; default nothing. */
  input?: Uint8Array | string;
  cwd?: string;
  env?: Record<string, string>;
  /** A command that gets node and its arguments as its own. */
  wrapper?: string[];
}

export interface Cli {
  /** The installation: dist/cli.js, node_modules, and a test's own models/. */
  folder: string;
  start(args: readonly string[], options?: RunOptions): ChildProcess;
  /** What a process wrote, and how it ended. */
  outcome(child: ChildProcess): Promise<Outcome>;
  run(args: readonly string[], options?: RunOptions): Promise<Outcome>;
  /** Runs a command that must succeed, says nothing on stderr, and gives its JSON. */
  // biome-ignore lint/suspicious/noExplicitAny: each command has a form of its own.
  json(args: readonly string[], options?: RunOptions): Promise<any>;
  /** Runs a command that must be refused in one sentence which matches `pattern`. */
  refused(args: readonly string[], pattern: RegExp, options?: RunOptions): Promise<void>;
}

/** Builds the program before the suite's tests and removes it after them. */
export function useCli(): Cli {
  const cli: Cli = {
    folder: "",
    start(args, { cwd, env, wrapper = [] } = {}) {
      const [command, ...rest] = [...wrapper, process.execPath, join(cli.folder, "dist/cli.js"), ...args];
      return spawn(command, rest, { cwd, env: { ...process.env, BLT_DEBUG: "", ...env } });
    },
    outcome,
    async run(args, options = {}) {
      const child = cli.start(args, options);
      child.stdin?.end(options.input ?? "");
      return outcome(child);
    },
    async json(args, options) {
      const { code, stdout, stderr } = await cli.run([...args, "--json"], options);
      assert.deepEqual([stderr, code], ["", 0]);
      assert.match(stdout, /^[^\n]*\n$/);
      return JSON.parse(stdout);
    },
    async refused(args, pattern, options) {
      const { code, stdout, stderr } = await cli.run(args, options);
      assert.match(stderr, /^blt: [^\n]+\.\n$/);
      assert.match(stderr, pattern);
      assert.deepEqual([stdout, code], ["", 2]);
    },
  };
  before(async () => {
    cli.folder = mkdtempSync(join(tmpdir(), "blt-cli-"));
    symlinkSync(join(repository, "node_modules"), join(cli.folder, "node_modules"), "junction");
    mkdirSync(join(cli.folder, "models"));
    await build({
      entryPoints: [join(repository, "model-runtime/cli/main.ts")],
      outfile: join(cli.folder, "dist/cli.js"),
      bundle: true,
      platform: "node",
      format: "cjs",
      external: ["onnxruntime-node"],
      logLevel: "warning",
    });
  });
  after(() => rmSync(cli.folder, { recursive: true, force: true }));
  return cli;
}

async function outcome(child: ChildProcess): Promise<Outcome> {
  let stdout = "";
  let stderr = "";
  child.stdout?.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  child.stderr?.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  // A command that is refused does not read its input.
  child.stdin?.on("error", () => undefined);
  const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
  return { code, stdout, stderr };
}

/** Largest difference between two lists of numbers. */
export function distance(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  assert.equal(actual.length, expected.length);
  return Array.from(actual).reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i])), 0);
}
