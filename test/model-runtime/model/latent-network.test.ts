import assert from "node:assert/strict";
import { openLexiconCheckpoint } from "../../../model-runtime/checkpoint/open-lexicon";
import { RowMemory } from "../../../model-runtime/kernels/row-kernels";
import { LexiconModel } from "../../../model-runtime/model/lexicon-model";
import type { LoadOptions } from "../../../model-runtime/model/load-options";
import { writeRandomLexicon } from "../../helpers/random-lexicon";
import { useTemporaryFolder } from "../checkpoint/fixture";
import { bytesOf, lexiconFolder } from "../lexicon/lexicon-samples";

const text = bytesOf("for (const value of values) total += value * scale[value % 7];\n".repeat(6));

describe("the latent transformer of a LexiconModel", () => {
  const path = useTemporaryFolder();
  const load = (folder: string, options: Partial<LoadOptions>) =>
    LexiconModel.load(openLexiconCheckpoint(folder), { device: "cpu", threads: 1, nativeKernels: false, ...options });
  const ask = async (model: LexiconModel, bytes: Uint8Array) => {
    const { reader } = model.createReader();
    reader.append(bytes);
    return Array.from(await reader.distribution());
  };
  const furthest = (a: number[], b: number[]) => Math.max(...a.map((p, i) => Math.abs(Math.log(p / b[i]))));

  it("goes through int8 rows where they are asked for, and gives what blocks give up to rounding", async () => {
    const shape = { width: 96, heads: 6, kvHeads: 2, layers: 2, readoutMatrix: false };
    await writeRandomLexicon(path("pieces"), shape, 1);
    const [blocks, rows] = [await load(path("pieces"), {}), await load(path("pieces"), { int8Rows: true })];
    const [expected, found] = [await ask(blocks, text), await ask(rows, text)];
    const apart = furthest(found, expected);
    assert.ok(apart > 0 && apart < 1, `log-probabilities ${apart} apart`);
    // Once more, and after the base model came back.
    assert.deepEqual(await ask(rows, text), found);
    await rows.useAdapter(null);
    assert.deepEqual(await ask(rows, text), found);
    for (const model of [blocks, rows]) await model.release();
  });

  it("goes through blocks where rows cannot be made after all, and says so", async () => {
    await writeRandomLexicon(path("pieces"), { width: 96, heads: 6, kvHeads: 2, layers: 1, readoutMatrix: false }, 2);
    const blocks = await load(path("pieces"), {});
    const { create } = RowMemory;
    const { error: write } = console;
    const said: string[] = [];
    RowMemory.create = (threads?: number) => {
      // Rows are made in a memory without threads.
      if (threads === undefined) throw new RangeError("no room");
      return create.call(RowMemory, threads);
    };
    console.error = (line: string) => said.push(line);
    let rows: LexiconModel;
    try {
      rows = await load(path("pieces"), { int8Rows: true });
    } finally {
      RowMemory.create = create;
      console.error = write;
    }
    assert.deepEqual(said, ["The latent transformer's longer runs go through 4-bit blocks: no room"]);
    assert.deepEqual(await ask(rows, text), await ask(blocks, text));
    for (const model of [blocks, rows]) await model.release();
  });

  it("is the same with and without where products are in float32, blocks have minima, or the row kernels run no row", async () => {
    for (const [name, int8Kernel] of [
      ["symmetric", "float32"],
      ["blocks", "blocked"],
      // Heads of 8 values.
      ["symmetric", "blocked"],
    ] as const) {
      const folder = lexiconFolder(name);
      const models = [await load(folder, { int8Kernel }), await load(folder, { int8Kernel, int8Rows: true })];
      assert.deepEqual(await ask(models[1], text), await ask(models[0], text));
      for (const model of models) await model.release();
    }
  });
});
