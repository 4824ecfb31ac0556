import assert from "node:assert/strict";
import { convertCheckpoint } from "../../../model-runtime/checkpoint/convert";
import { openCheckpoint } from "../../../model-runtime/checkpoint/open-checkpoint";
import { quantizeCheckpoint } from "../../../model-runtime/checkpoint/quantize";
import { BOS, VOCABULARY_SIZE } from "../../../model-runtime/ids";
import { nativeKernels } from "../../../model-runtime/kernels/native";
import { Blt } from "../../../model-runtime/model/blt";
import type { LoadOptions } from "../../../model-runtime/model/load-options";
import { type RandomShape, randomShapes, writeRandomCheckpoint } from "../../helpers/random-checkpoint";
import { useTemporaryFolder } from "../checkpoint/fixture";

const ids = [BOS, ...Array.from({ length: 400 }, (_, i) => 4 + ((i * i * 31 + (i >> 3)) % 97))];
/** All of whose latent matrices are whole blocks of 32. */
const shape: RandomShape = {
  ...randomShapes[1][1],
  localWidth: 48,
  latentWidth: 96,
  k: 4,
  latentHeads: 3,
  latentKvHeads: 1,
};

function furthest(a: Float32Array, b: Float32Array): number {
  assert.equal(a.length, b.length);
  return a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0);
}

describe("a Blt with 4-bit weights", () => {
  const path = useTemporaryFolder();
  const load = (name: string, options: Partial<LoadOptions> = {}) =>
    Blt.load(openCheckpoint(path(name)), { device: "cpu", threads: 1, ...options });

  beforeEach(async () => {
    await writeRandomCheckpoint(path("float"), shape, 3);
    await quantizeCheckpoint(openCheckpoint(path("float")), path("4"), { bits: 4 });
  });

  it("is the model that its weights are in float32", async () => {
    await convertCheckpoint(openCheckpoint(path("4")), path("expanded"), { dtype: "F32" });
    const results: { logits: Float32Array; starts: readonly number[] }[] = [];
    for (const [name, kernel] of [
      ["4", "float32"],
      ["expanded", undefined],
    ] as const) {
      const model = await load(name, { int8Kernel: kernel });
      const sequence = model.createSequence();
      results.push({ logits: await sequence.append(ids, { logits: "all" }), starts: sequence.patchStarts });
      await model.release();
    }
    assert.deepEqual(results[0].starts, results[1].starts);
    assert.ok(furthest(results[0].logits, results[1].logits) < 1e-4);
  });

  it("gives an appended and truncated text what a fresh one gets", async () => {
    const model = await load("4", { int8Kernel: "float32" });
    const fresh = await model.createSequence().append(ids, { logits: "all" });
    const sequence = model.createSequence();
    for (const id of ids.slice(0, 60)) await sequence.append([id]);
    await sequence.append(ids.slice(60, 300), { logits: "none" });
    sequence.truncate(40);
    const rest = await sequence.append(ids.slice(40), { logits: "all" });
    assert.ok(furthest(rest, fresh.subarray(40 * VOCABULARY_SIZE)) < 1e-4);
    await model.release();
  });

  it("leaves out what the last byte cannot see, and takes back what comes next", async () => {
    const checkpoint = openCheckpoint(path("4"));
    const { patcher, encoder, decoder } = checkpoint.config;
    for (const network of [patcher!, encoder, decoder]) network.window = 24;
    const model = await Blt.load(checkpoint, { device: "cpu", threads: 1 });
    assert.ok(nativeKernels() === null || model.networks.decoder.rowNetwork?.runsAll);
    const fresh = await model.createSequence().append(ids, { logits: "all" });
    const at = (position: number) => fresh.subarray(position * VOCABULARY_SIZE, (position + 1) * VOCABULARY_SIZE);
    for (const length of [30, 90, 200, 300])
      for (const back of [1, 10, 33, 70]) {
        const sequence = model.createSequence();
        const found = await sequence.append(ids.slice(0, length));
        assert.ok(furthest(found, at(length - 1)) < 1e-4, `after ${length}`);
        sequence.truncate(Math.max(1, length - back));
        const further = await sequence.append(ids.slice(sequence.length, length + 5));
        assert.ok(furthest(further, at(length + 4)) < 1e-4, `${back} back from ${length}`);
        // In the middle of the decoder's rows, or before or behind them.
        const controller = new AbortController();
        setTimeout(() => controller.abort(), back / 10);
        const { signal } = controller;
        await sequence.append(ids.slice(length + 5), { signal }).catch((error) => assert.equal(error, signal.reason));
        sequence.truncate(length + 5);
        const all = await sequence.append(ids.slice(length + 5, length + 9), { logits: "all" });
        assert.ok(furthest(all, fresh.subarray((length + 5) * VOCABULARY_SIZE).subarray(0, all.length)) < 1e-4);
      }
    await model.release();
  });

  it("reads long texts through int8 rows where they are asked for, which is the same up to rounding", async () => {
    const read = async (rows: boolean) => {
      const model = await load("4", { int8Rows: rows, nativeKernels: false });
      const logits = await model.createSequence().append(ids, { logits: "all" });
      await model.release();
      return logits;
    };
    const blocks = await read(false);
    const apart = furthest(await read(true), blocks);
    const spread = Math.sqrt(blocks.reduce((sum, value) => sum + value * value, 0) / blocks.length);
    assert.ok(apart > 0 && apart < 0.5 * spread, `${apart} of ${spread}`);
  });
});
