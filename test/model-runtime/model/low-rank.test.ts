import assert from "node:assert/strict";
import { openCheckpoint } from "../../../model-runtime/checkpoint/open-checkpoint";
import { openLexiconCheckpoint } from "../../../model-runtime/checkpoint/open-lexicon";
import { createRandom } from "../../../model-runtime/generation/random";
import { encode } from "../../../model-runtime/ids";
import { Blt } from "../../../model-runtime/model/blt";
import { LexiconModel } from "../../../model-runtime/model/lexicon-model";
import type { LowRank } from "../../../model-runtime/model/low-rank";
import type { TextModel } from "../../../model-runtime/model/text-state";
import { readFloatWeight } from "../../../model-runtime/training/float-weights";

const text = encode(Buffer.from("const value = con(x);\n    return value + 42;\n"));

/** An adapter with random numbers for some layers. */
function randomAdapter(checkpoint: Parameters<typeof readFloatWeight>[0], layers: string[]): LowRank {
  const random = createRandom(5);
  const numbers = (count: number) => Float32Array.from({ length: count }, () => 0.4 * (random() - 0.5));
  const parts = new Map(
    layers.map((layer) => {
      const [outputs, inputs] = readFloatWeight(checkpoint, `${layer}.weight`).shape;
      return [layer, { a: numbers(3 * inputs), b: numbers(3 * outputs), inputs, outputs }];
    }),
  );
  return { rank: 3, alpha: 6, parts };
}

async function logitsOf(model: TextModel): Promise<Float32Array> {
  return model.createSequence().append(text, { logits: "all" });
}

function farthest(a: Float32Array, b: Float32Array): number {
  return a.reduce((most, value, i) => (value === b[i] ? most : Math.max(most, Math.abs(value - b[i]))), 0);
}

const models = [
  {
    name: "a lexicon model",
    load: async (adapter?: LowRank) =>
      LexiconModel.load(openLexiconCheckpoint("test/golden/lexicon/plain"), {
        device: "cpu",
        int8Kernel: "float32",
        adapter,
      }),
    // One of the three layers that are joined in one product, and both of two that are.
    layers: ["self_attn.k_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"].map(
      (name) => `model.global_transformer.layers.1.${name}`,
    ),
  },
  {
    name: "a plain BLT",
    load: async (adapter?: LowRank) =>
      Blt.load(openCheckpoint("test/golden/k2"), { device: "cpu", int8Kernel: "float32", adapter }),
    layers: [
      "model.global_transformer.layers.0.self_attn.q_proj",
      "model.local_decoder.layers.0.mlp.down_proj",
      "model.local_decoder.cross_attn_layers.0.v_proj",
      "lm_head",
    ],
  },
];

describe("low-rank adapters", () => {
  for (const { name, load, layers } of models) {
    it(`change ${name}, in texts that are there already as in new ones, and back`, async () => {
      const model = await load();
      const adapter = randomAdapter(model.checkpoint, layers);
      const adapted = await load(adapter);
      const [base, expected] = [await logitsOf(model), await logitsOf(adapted)];
      assert.ok(farthest(base, expected) > 0.01, "the adapter changes nothing");
      const sequence = model.createSequence();
      const half = text.length >> 1;
      await sequence.append(text.subarray(0, half));
      const copy = sequence.fork();
      await model.useAdapter(adapter);
      for (const state of [sequence, copy]) {
        const rows = await state.append(text.subarray(half), { logits: "all" });
        assert.ok(farthest(rows, expected.subarray(expected.length - rows.length)) < 1e-4);
      }
      assert.ok(farthest(await logitsOf(model), expected) < 1e-4);
      await model.useAdapter(null);
      sequence.truncate(half);
      const rows = await sequence.append(text.subarray(half), { logits: "all" });
      assert.ok(farthest(rows, base.subarray(base.length - rows.length)) < 1e-4);
      await model.release();
      await adapted.release();
    });

    it(`change ${name} in every layer they name`, async () => {
      const model = await load();
      const adapter = randomAdapter(model.checkpoint, layers);
      await model.useAdapter(adapter);
      const adapted = await logitsOf(model);
      for (const layer of layers) {
        const rest = new Map([...adapter.parts].filter(([other]) => other !== layer));
        await model.useAdapter({ ...adapter, parts: rest });
        assert.ok(farthest(await logitsOf(model), adapted) > 1e-5, `${layer} has no part in it`);
      }
      await model.release();
    });
  }
});
