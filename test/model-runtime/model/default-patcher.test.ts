/** The default model's patcher in the runtime against PyTorch (pretraining/golden_patcher.py). */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { openLexiconCheckpoint } from "../../../model-runtime/checkpoint/open-lexicon";
import { readWeight } from "../../../model-runtime/checkpoint/tensor-data";
import { encode } from "../../../model-runtime/ids";
import { CausalNetwork } from "../../../model-runtime/model/causal-network";
import { patcherOf } from "../../../model-runtime/model/entropy-model";
import type { Int8Kernel } from "../../../model-runtime/model/linear";
import { patcherGraph } from "../../../model-runtime/model/networks";
import { patcherByteModel } from "../../../model-runtime/model/patcher-byte-model";
import { patcherRows, rowMemory } from "../../../model-runtime/model/row-networks";
import { defaultFolder } from "../lexicon/lexicon-samples";

interface Golden {
  text: string;
  /** Nats, of each byte. */
  log_probability: number[];
  /** Nats, before each byte. */
  entropy: number[];
}

const golden: Golden = JSON.parse(
  readFileSync(join(__dirname, "../../golden/lexicon/patcher.json"), { encoding: "utf8" }),
);
const text = new TextEncoder().encode(golden.text);

describe("the patcher of models/default", () => {
  // Activations of 7 bits cost a little; float32 products must be the reference's.
  for (const [int8Kernel, tolerance] of [
    ["float32", 1e-3],
    ["rows-narrow", 0.3],
  ] as [Int8Kernel, number][])
    it(`gives the reference's bytes and entropies (${int8Kernel})`, async () => {
      const checkpoint = openLexiconCheckpoint(defaultFolder);
      const { patcher: config, patching } = checkpoint.config;
      const source = { checkpoint, int8Kernel };
      const options = { device: "cpu", threads: 1 } as const;
      const singleRows = patcherRows(source, rowMemory(checkpoint, options));
      const network = await CausalNetwork.load(() => patcherGraph(source), config!, options, singleRows);
      const table = readWeight(checkpoint, "model.patcher.embed_tokens.weight");
      const read = await patcherByteModel(network, table).after(text, 0, text.length - 1);
      const typed: Float64Array[] = [];
      const model = patcherByteModel(network, table);
      for (let i = 0; i < text.length; i++) typed.push(...(await model.after(text.subarray(0, i), i, i)));
      assert.equal(singleRows !== null, int8Kernel !== "float32");
      for (const rows of [read, typed]) {
        let off = 0;
        for (const [i, row] of rows.entries()) {
          const difference = Math.log(row[text[i]]) - golden.log_probability[i];
          assert.ok(Math.abs(difference) < 8 * tolerance, `byte ${i}: ${difference}`);
          off += difference;
        }
        assert.ok(Math.abs(off / text.length) < tolerance / 5, `mean ${off / text.length}`);
      }
      const stream = patcherOf(network, table, { separatesDocuments: true }).begin(patching);
      const entropies = await stream.next(encode(text));
      for (const [i, expected] of golden.entropy.entries())
        assert.ok(Math.abs(entropies[i] - expected) < 2 * tolerance, `entropy ${i}: ${entropies[i] - expected}`);
      await network.release();
    });
});
