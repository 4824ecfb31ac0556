/**
 * The engine's speed beside its peers': `npx tsx test/bench/speed.ts [--rounds N] [--json FILE]`.
 * Prints Markdown (docs/performance.md explains it). The first run downloads the peers into .cache/bench.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { describeMachine } from "./lib/machine";
import { measure } from "./lib/measure";
import { prepare } from "./lib/prepare";
import { report } from "./lib/report";

const root = join(__dirname, "../..");
/** Of each subject, as the machines that are measured have two cores. */
const threads = 2;

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { rounds: { type: "string", default: "5" }, json: { type: "string" } } });
  const rounds = Number(values.rounds);
  if (!(Number.isInteger(rounds) && rounds > 0))
    throw new Error(`--rounds is "${values.rounds}", but must be 1 or more`);
  const prepared = await prepare(root, threads);
  const machine = describeMachine();
  const measurements = await measure(root, prepared, rounds);
  if (values.json) writeFileSync(values.json, `${JSON.stringify({ machine, ...measurements }, null, 1)}\n`);
  process.stdout.write(`${report(machine, measurements)}\n`);
}

main().catch((error: Error) => {
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
});
