import assert from "node:assert/strict";
import { openLexiconCheckpoint } from "../../../model-runtime/checkpoint/open-lexicon";
import { LexiconModel } from "../../../model-runtime/model/lexicon-model";
import type { LoadOptions } from "../../../model-runtime/model/load-options";
import { bytesOf, lexiconFolder } from "../lexicon/lexicon-samples";

const text = bytesOf("for (const value of values) total += value * scale[value % 7];\n".repeat(6));

describe("the latent transformer of a LexiconModel", () => {
  const load = (name: string, options: Partial<LoadOptions>) =>
    LexiconModel.load(openLexiconCheckpoint(lexiconFolder(name)), { device: "cpu", threads: 1, ...options });
  const ask = async (model: LexiconModel, bytes: Uint8Array) => {
    const { reader } = model.createReader();
    reader.append(bytes);
    return Array.from(await reader.distribution());
  };
  const furthest = (a: number[], b: number[]) => Math.max(...a.map((p, i) => Math.abs(Math.log(p / b[i]))));

  it("goes through int8 rows where they are asked for, and gives what blocks give up to rounding", async () => {
    const [blocks, rows] = [
      await load("symmetric", { int8Kernel: "blocked" }),
      await load("symmetric", { rows: true }),
    ];
    const [expected, found] = [await ask(blocks, text), await ask(rows, text)];
    assert.ok(furthest(found, expected) > 0 && furthest(found, expected) < 0.1);
    // Once more, and after the base model came back.
    assert.deepEqual(await ask(rows, text), found);
    await rows.useAdapter(null);
    assert.deepEqual(await ask(rows, text), found);
    for (const model of [blocks, rows]) await model.release();
  });

  it("is the same with and without where products are in float32 or blocks have minima", async () => {
    for (const [name, int8Kernel] of [
      ["symmetric", "float32"],
      ["blocks", "blocked"],
    ] as const) {
      const models = [await load(name, { int8Kernel }), await load(name, { int8Kernel, rows: true })];
      assert.deepEqual(await ask(models[1], text), await ask(models[0], text));
      for (const model of models) await model.release();
    }
  });
});
