/**
 * Which nodes of our graphs run on a device and which fall back to the CPU, as onnxruntime places them:
 *
 *     npx tsx --require ./test/gpu/use-cuda-provider.cjs test/bench/gpu-placement.ts cuda CHECKPOINT...
 */
import { spawnSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import * as ort from "onnxruntime-node";
import type { ResolvedDevice } from "../../model-runtime/device";
import { generate } from "../../model-runtime/generation/generate";
import { Graph } from "../../model-runtime/graph/graph";
import { encode } from "../../model-runtime/ids";
import { Blt } from "../../model-runtime/model/blt";
import { loadModel, openModel } from "../../model-runtime/model/load-model";

/** Before what is said about a graph, on standard error. */
const MARK = "@@ graph ";

type Create = (model: Uint8Array, options: ort.InferenceSession.SessionOptions) => Promise<ort.InferenceSession>;

async function main([device, ...folders]: string[]): Promise<void> {
  if (process.env.BLT_PLACEMENT_CHILD) return compileAll(device as ResolvedDevice, folders[0]);
  for (const folder of folders) {
    // Into a file: onnxruntime gives up on a pipe that is full for a moment.
    const log = join(mkdtempSync(join(tmpdir(), "blt-placement-")), "log");
    const file = openSync(log, "w");
    const { status } = spawnSync(process.execPath, [...process.execArgv, __filename, device, folder], {
      stdio: ["ignore", "inherit", file],
      env: { ...process.env, BLT_PLACEMENT_CHILD: "1" },
    });
    closeSync(file);
    const said = readFileSync(log, "utf8");
    rmSync(dirname(log), { recursive: true });
    console.log(`${folder}${status === 0 ? "" : ` (ended with code ${status}: ${said.slice(-500)})`}`);
    for (const part of said.split(MARK).slice(1)) console.log(summary(part));
  }
}

/** Loads the model and writes some bytes, so that every graph is compiled; onnxruntime says on standard error what it does. */
async function compileAll(device: ResolvedDevice, folder: string): Promise<void> {
  const encodeGraph = Graph.prototype.encode;
  Graph.prototype.encode = function () {
    process.stderr.write(`${MARK}${this.name}\n`);
    return encodeGraph.call(this);
  };
  const sessions = ort.InferenceSession as unknown as { create: Create };
  const create = sessions.create.bind(sessions);
  sessions.create = (model, options) => create(model, { ...options, logSeverityLevel: 0, logVerbosityLevel: 0 });
  const model = await loadModel(openModel(folder), { device, deviceLoop: true });
  const text = model instanceof Blt ? model.createText() : model.createSequence();
  for await (const _ of generate(text, encode(Buffer.from("function f(")), { temperature: 0, maxBytes: 12 }));
  await model.release();
}

/** "latent: 300 on CUDA, 12 on CPU (Gather 6, Concat 6)". */
function summary(log: string): string {
  const counts = new Map<string, { nodes: number; operators: Map<string, number> }>();
  let provider = "";
  for (const line of log.split("\n")) {
    const placed = /placed on \[(\w+?)(?:ExecutionProvider)?\]\. Number of nodes: (\d+)/.exec(line);
    if (placed) {
      provider = placed[1];
      const before = counts.get(provider) ?? { nodes: 0, operators: new Map() };
      counts.set(provider, { ...before, nodes: before.nodes + Number(placed[2]) });
    }
    const operator = /VerifyEachNodeIsAssignedToAnEp\]\s{2,}(\w+) \(/.exec(line)?.[1];
    if (operator === undefined || provider === "") continue;
    const { operators } = counts.get(provider)!;
    operators.set(operator, (operators.get(operator) ?? 0) + 1);
  }
  const list = (operators: Map<string, number>) =>
    [...operators]
      .sort((a, b) => b[1] - a[1])
      .map(([name, count]) => `${name} ${count}`)
      .join(", ");
  const places = [...counts].map(([name, { nodes, operators }]) => {
    const shown =
      name === "CPU" ? operators : new Map([...operators].filter(([operator]) => operator.startsWith("Memcpy")));
    return `${nodes} on ${name}${shown.size > 0 ? ` (${list(shown)})` : ""}`;
  });
  return `  ${log.split("\n", 1)[0]}: ${places.join("; ") || "not compiled"}`;
}

main(process.argv.slice(2)).catch((error: Error) => {
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
});
