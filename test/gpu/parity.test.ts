/**
 * Results on a GPU beside those on the CPU, same weights and same arithmetic (float32 products), for what golden files do not
 * show: other shapes, other dtypes, the models that are shipped. Prints the largest differences it saw.
 */
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { convertCheckpoint } from "../../model-runtime/checkpoint/convert";
import { openCheckpoint } from "../../model-runtime/checkpoint/open-checkpoint";
import { openLexiconCheckpoint } from "../../model-runtime/checkpoint/open-lexicon";
import { quantizeCheckpoint } from "../../model-runtime/checkpoint/quantize";
import { generate } from "../../model-runtime/generation/generate";
import { encode } from "../../model-runtime/ids";
import { Blt } from "../../model-runtime/model/blt";
import { LexiconModel } from "../../model-runtime/model/lexicon-model";
import type { TextState } from "../../model-runtime/model/text-state";
import { testDevice } from "../helpers/device";
import { randomShapes, writeRandomCheckpoint } from "../helpers/random-checkpoint";

/** Rounding: other orders of summation move these checkpoints' logits by 1e-5 at most (docs/performance-gpu.md). */
const TOLERANCE = 1e-4;
/** 30 layers and log-probabilities down to -30: already two orders on the CPU are 6.5e-5 apart; TF32 would be 5e-2. */
const TOLERANCE_OF_DEFAULT = 3e-4;
const root = join(__dirname, "../..");
const text = encode(readFileSync(__filename).subarray(0, 700));
const largest: Record<string, number> = {};

/** Compares and notes the largest difference under `what`. */
function assertClose(what: string, found: ArrayLike<number>, expected: ArrayLike<number>, tolerance = TOLERANCE): void {
  assert.equal(found.length, expected.length, `${what}: length`);
  let most = 0;
  for (let i = 0; i < expected.length; i++)
    if (found[i] !== expected[i] && !(Number.isNaN(found[i]) && Number.isNaN(expected[i]))) {
      const difference = Math.abs(found[i] - expected[i]);
      // A comparison with NaN is false, so what is not a number counts as far away.
      most = difference <= most ? most : Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference;
    }
  largest[what] = Math.max(largest[what] ?? 0, most);
  assert.ok(most <= tolerance, `${what}: ${most} apart`);
}

/** Loads a checkpoint on both devices, runs the text on both, and writes on from it. */
async function compare(what: string, open: () => ReturnType<typeof openCheckpoint>): Promise<void> {
  const [cpu, gpu] = await Promise.all([
    Blt.load(open(), { device: "cpu", int8Kernel: "float32" }),
    Blt.load(open(), { device: testDevice, int8Kernel: "float32" }),
  ]);
  const [expected, found] = [cpu.createSequence(), gpu.createSequence()];
  const logits = await expected.append(text, { logits: "all" });
  assertClose(`${what}: logits`, await found.append(text, { logits: "all" }), logits);
  assertClose(`${what}: entropies`, found.entropies, expected.entropies);
  assert.deepEqual(found.patchStarts, expected.patchStarts);
  // In the loop on the GPU, with guesses; one by one on the CPU.
  assert.deepEqual(await written(gpu.createText()), await written(cpu.createSequence()), `${what}: bytes written`);
  await cpu.release();
  await gpu.release();
}

async function written(state: TextState): Promise<number[]> {
  const bytes: number[] = [];
  for await (const { byte } of generate(state, text.subarray(0, 200), { temperature: 0, maxBytes: 60 }))
    bytes.push(byte);
  return bytes;
}

describe("a GPU beside the CPU", () => {
  let folder = "";
  before(function () {
    if (testDevice === "cpu") this.skip();
    folder = mkdtempSync(join(tmpdir(), "blt-gpu-"));
  });
  after(() => {
    if (folder !== "") rmSync(folder, { recursive: true });
    for (const [what, difference] of Object.entries(largest)) console.log(`largest difference, ${what}: ${difference}`);
  });

  randomShapes.forEach(([title, shape], seed) => {
    it(`random weights, ${title}: float32, float16, bfloat16, int8`, async () => {
      const from = join(folder, `random-${seed}`);
      await writeRandomCheckpoint(from, shape, seed);
      for (const dtype of ["F16", "BF16"] as const)
        await convertCheckpoint(openCheckpoint(from), `${from}-${dtype}`, { dtype });
      await quantizeCheckpoint(openCheckpoint(from), `${from}-I8`);
      for (const kind of ["", "-F16", "-BF16", "-I8"])
        await compare(`k ${shape.k}${kind}`, () => openCheckpoint(from + kind));
      await compare(`k ${shape.k}, hf`, () => openCheckpoint(from, { semantics: "hf" }));
    });
  });

  it("models/tiny", () => compare("models/tiny", () => openCheckpoint(join(root, "models/tiny"))));

  it("models/default", async function () {
    const weights = join(root, "models/default");
    if (!existsSync(join(weights, "model-00001-of-00002.safetensors"))) this.skip();
    const load = (device: "cpu" | typeof testDevice) =>
      LexiconModel.load(openLexiconCheckpoint(weights), { device, int8Kernel: "float32" });
    const [cpu, gpu] = await Promise.all([load("cpu"), load(testDevice)]);
    const [expected, found] = [cpu.createSequence(), gpu.createSequence()];
    const logProbabilities = await expected.append(text, { logits: "all" });
    const onGpu = await found.append(text, { logits: "all" });
    assertClose("models/default: log-probabilities", onGpu, logProbabilities, TOLERANCE_OF_DEFAULT);
    assert.deepEqual(await written(gpu.createSequence()), await written(cpu.createSequence()));
    await cpu.release();
    await gpu.release();
  });
});
