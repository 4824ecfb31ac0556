import assert from "node:assert/strict";
import { convertCheckpoint } from "../../../model-runtime/checkpoint/convert";
import { openCheckpoint } from "../../../model-runtime/checkpoint/open-checkpoint";
import { quantizeCheckpoint } from "../../../model-runtime/checkpoint/quantize";
import { BOS, VOCABULARY_SIZE } from "../../../model-runtime/ids";
import { Blt } from "../../../model-runtime/model/blt";
import type { Int8Kernel } from "../../../model-runtime/model/linear";
import { type RandomShape, randomShapes, writeRandomCheckpoint } from "../../helpers/random-checkpoint";
import { useTemporaryFolder } from "../checkpoint/fixture";

const ids = [BOS, ...Array.from({ length: 400 }, (_, i) => 4 + ((i * i * 31 + (i >> 3)) % 97))];
/** All of whose latent matrices are whole blocks of 32. */
const shape: RandomShape = { ...randomShapes[1][1], latentWidth: 96, k: 4, latentHeads: 3, latentKvHeads: 1 };

function furthest(a: Float32Array, b: Float32Array): number {
  assert.equal(a.length, b.length);
  return a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0);
}

describe("a Blt with 4-bit weights", () => {
  const path = useTemporaryFolder();
  const load = (name: string, int8Kernel?: Int8Kernel) =>
    Blt.load(openCheckpoint(path(name)), { device: "cpu", threads: 1, int8Kernel });

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
      const model = await load(name, kernel);
      const sequence = model.createSequence();
      results.push({ logits: await sequence.append(ids, { logits: "all" }), starts: sequence.patchStarts });
      await model.release();
    }
    assert.deepEqual(results[0].starts, results[1].starts);
    assert.ok(furthest(results[0].logits, results[1].logits) < 1e-4);
  });

  it("gives an appended and truncated text what a fresh one gets", async () => {
    const model = await load("4", "float32");
    const fresh = await model.createSequence().append(ids, { logits: "all" });
    const sequence = model.createSequence();
    for (const id of ids.slice(0, 60)) await sequence.append([id]);
    await sequence.append(ids.slice(60, 300), { logits: "none" });
    sequence.truncate(40);
    const rest = await sequence.append(ids.slice(40), { logits: "all" });
    assert.ok(furthest(rest, fresh.subarray(40 * VOCABULARY_SIZE)) < 1e-4);
    await model.release();
  });

  it("reads long texts through int8 rows once they are prepared, which is the same up to rounding", async () => {
    const model = await load("4");
    const read = (text: number[]) => model.createSequence().append(text, { logits: "all" });
    const [long, short] = [await read(ids), await read(ids.slice(0, 20))];
    assert.equal(model.longRuns.canPrepare, true);
    await model.longRuns.prepare(0);
    assert.equal(model.longRuns.canPrepare, false);
    assert.deepEqual(await read(ids.slice(0, 20)), short);
    const apart = furthest(await read(ids), long);
    const spread = Math.sqrt(long.reduce((sum, value) => sum + value * value, 0) / long.length);
    assert.ok(apart > 0 && apart < 0.5 * spread, `${apart} of ${spread}`);
    await model.release();
  });

  it("finds out how long runs must be by timing what it reads, and goes on as before where no length pays", async () => {
    const model = await load("4");
    const read = () => model.createSequence().append(ids, { logits: "all" });
    const before = await read();
    await model.longRuns.prepare(Number.POSITIVE_INFINITY);
    assert.equal(model.longRuns.canPrepare, false);
    assert.deepEqual(await read(), before);
    await model.useAdapter(null);
    await model.longRuns.prepare(Number.MIN_VALUE);
    assert.ok(furthest(await read(), before) > 0);
    await model.release();
  });

  it("knows what its second form takes: a byte a weight of the latent transformer's layers", async () => {
    const model = await load("4");
    const layers = [...model.checkpoint.tensors.values()].filter(
      ({ name, dtype }) => name.startsWith("model.global_transformer.layers.") && dtype === "U8",
    );
    assert.equal(
      model.longRuns.byteLength,
      layers.reduce((sum, { shape }) => sum + shape[0] * shape[1] * 32, 0),
    );
    await model.release();
  });

  it("has no second form where it would change nothing, and gives up what is prepared when it is released", async () => {
    for (const [name, kernel] of [
      ["float", undefined],
      ["4", "float32"],
    ] as const) {
      const model = await load(name, kernel);
      assert.equal(model.longRuns.canPrepare, false);
      await model.release();
    }
    const model = await load("4");
    const preparing = assert.rejects(model.longRuns.prepare(0), { name: "AbortError" });
    await model.release();
    await preparing;
  });
});
