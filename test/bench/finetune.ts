/**
 * Speed of fine-tuning beside torch (transformers with PEFT) on the same work, and beside its matrix products alone:
 *
 *     npx tsx test/bench/finetune.ts FOLDER [--layers 8] [--rounds 4] [--threads 2]
 *
 * The folder is what is learned from. A gradient of one row of 512 pieces, the lower layers' results at hand, in turns with
 * torch; needs `pretraining/setup-venv.sh`. Prints Markdown.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import type { LexiconCheckpoint } from "../../model-runtime/checkpoint/open-lexicon";
import { createRandom } from "../../model-runtime/generation/random";
import { openModel } from "../../model-runtime/model/load-model";
import { readDataset } from "../../model-runtime/training/dataset";
import { targetKinds } from "../../model-runtime/training/kit";
import { initialParameters } from "../../model-runtime/training/low-rank-parameters";
import { PieceTrainee } from "../../model-runtime/training/piece-trainee";
import { describeMachine } from "./lib/machine";
import { ratioSpread, spread } from "./lib/statistics";

const root = join(__dirname, "../..");
const RANK = 8;

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      layers: { type: "string", default: "8" },
      rounds: { type: "string", default: "4" },
      threads: { type: "string", default: "2" },
    },
  });
  const [layers, rounds, threads] = [values.layers, values.rounds, values.threads].map(Number);
  const checkpoint = openModel(join(root, "models/default")) as LexiconCheckpoint;
  const { train } = await readDataset(positionals[0], { maxBytes: 300_000 });
  const trainee = await PieceTrainee.load(checkpoint, {
    device: "cpu",
    threads,
    rank: RANK,
    alpha: 2 * RANK,
    targets: targetKinds,
    layers,
    positions: 512,
    labelSmoothing: 0,
    checkpointLayers: false,
    cacheBytes: 4e8,
  });
  const rows = trainee.rows(train);
  await trainee.prepare(rows);
  const parameters = initialParameters(trainee.layout, createRandom(0));
  trainee.beginStep(createRandom(0));
  const ours = async () => {
    const began = performance.now();
    await trainee.gradient(rows[0], parameters, new Float32Array(parameters.length), 1);
    return performance.now() - began;
  };
  const torch = await startTorch(threads);
  const { latent } = checkpoint.config;
  const task = { latent, layers, positions: 512, rank: RANK, candidates: trainee.candidateCount };
  const times = { ours: [] as number[], torch: [] as number[], products: [] as number[] };
  // The first of each makes what later ones find.
  await ours();
  await torch.ask(task);
  for (let round = 0; round < rounds; round++) {
    times.ours.push(await ours());
    const { gradientMs, productsMs } = await torch.ask(task);
    times.torch.push(gradientMs);
    times.products.push(productsMs);
  }
  torch.end();
  await trainee.release();
  const ms = {
    ours: spread(times.ours).median,
    torch: spread(times.torch).median,
    products: spread(times.products).median,
  };
  const speed = (time: number) => `${Math.round(rows[0].bytes / (time / 1000))} bytes/s`;
  const { processor, cores } = describeMachine();
  console.log(`${processor}, ${cores} cores; ${layers} layers, ${task.candidates} candidates, ${rows[0].bytes} bytes a row, ${rounds} rounds, medians

| | time of a row | bytes/s | beside torch |
|---|---|---|---|
| this program | ${Math.round(ms.ours)} ms | ${speed(ms.ours)} | ${ratioSpread(times.torch, times.ours).median.toFixed(2)} x |
| torch, transformers and PEFT | ${Math.round(ms.torch)} ms | ${speed(ms.torch)} | 1 x |
| matrix products alone, torch | ${Math.round(ms.products)} ms | ${speed(ms.products)} | ${ratioSpread(times.torch, times.products).median.toFixed(2)} x |`);
}

interface Times {
  gradientMs: number;
  productsMs: number;
}

async function startTorch(threads: number): Promise<{ ask(task: object): Promise<Times>; end(): void }> {
  const child = spawn(
    join(root, ".cache/venv/bin/python"),
    [join(root, "test/bench/peers/torch_finetune.py"), String(threads)],
    { stdio: ["pipe", "pipe", "inherit"] },
  );
  const lines = createInterface(child.stdout);
  await once(lines, "line");
  return {
    async ask(task) {
      child.stdin.write(`${JSON.stringify(task)}\n`);
      const [line] = await once(lines, "line");
      return JSON.parse(line);
    },
    end: () => child.stdin.end(),
  };
}

main().catch((error: Error) => {
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
});
