import assert from "node:assert/strict";
import {
  type LexiconCheckpoint,
  openLexiconCheckpoint,
  pieceEmbeddingName,
} from "../../../model-runtime/checkpoint/open-lexicon";
import { readBytes, readTensor, scaleName } from "../../../model-runtime/checkpoint/tensor-data";
import { createRandom } from "../../../model-runtime/generation/random";
import { BLOCK_INPUTS } from "../../../model-runtime/kernels/blocks";
import { nativeKernels } from "../../../model-runtime/kernels/native";
import { RowMemory } from "../../../model-runtime/kernels/row-kernels";
import { roundToBytes } from "../../../model-runtime/model/byte-keys";
import { EXACT_NATS, pieceProduct } from "../../../model-runtime/model/piece-product";

describe("the readout by the native kernels", () => {
  let checkpoint: LexiconCheckpoint;
  before(function () {
    if (nativeKernels() === null) this.skip();
    checkpoint = openLexiconCheckpoint("models/default");
  });

  /** Chances of pieces after a state, in float64. */
  function expected(state: Float32Array, pieces: readonly number[]): Float64Array {
    const table = readBytes(checkpoint.tensors.get(pieceEmbeddingName)!);
    const rows = new Int8Array(table.buffer, table.byteOffset, table.length);
    const scales = readTensor(checkpoint.tensors.get(scaleName(pieceEmbeddingName))!);
    const logits = Float64Array.from(pieces, (piece) => {
      let sum = 0;
      for (let i = 0; i < state.length; i++) sum += state[i] * rows[piece * state.length + i];
      return sum * scales[piece];
    });
    const most = logits.reduce((a, b) => Math.max(a, b));
    const weights = logits.map((logit) => Math.exp(logit - most));
    const all = weights.reduce((a, b) => a + b);
    return weights.map((weight) => weight / all);
  }

  it("gives likely pieces their chances, and those that are not about theirs", () => {
    const { pieces: count, latent } = checkpoint.config;
    const pieces = Array.from({ length: count }, (_, place) => (place * 7919) % count);
    const memory = RowMemory.create(2, true)!;
    const product = pieceProduct(checkpoint, "blocked", pieces, memory, 3)!;
    const random = createRandom(4);
    const table = readBytes(checkpoint.tensors.get(pieceEmbeddingName)!);
    const width = latent.hiddenSize;
    // Near a piece's row, so that some pieces are far likelier than others, and rounded as activations are.
    const states = [0, 0.01, 0.015].map((size, i) => {
      const row = new Int8Array(table.buffer, table.byteOffset + (500 + i) * width, width);
      const state = Float32Array.from(row, (number) => size * number + 2 * random() - 1);
      roundToBytes(state, BLOCK_INPUTS);
      return state;
    });
    states.forEach((state, row) => {
      memory.row(product.states, row, width).set(state);
    });
    memory.team.begin();
    product.run(states.length);
    memory.team.end();
    for (const [row, state] of states.entries()) {
      const found = memory.row(product.chances, row, count);
      const exact = expected(state, pieces);
      const most = exact.reduce((a, b) => Math.max(a, b));
      let [sum, estimates, off] = [0, 0, 0];
      found.forEach((chance, place) => {
        sum += chance;
        const nats = Math.log(chance / exact[place]);
        // An estimate may be as far off as that.
        if (exact[place] > most * Math.exp(-EXACT_NATS / 2))
          assert.ok(Math.abs(nats) < 0.01, `${chance}, ${exact[place]}`);
        else if (Math.abs(nats) > 0.01) [estimates, off] = [estimates + 1, off + nats * nats];
      });
      assert.ok(Math.abs(sum - 1) < 1e-4, `${sum}`);
      // All are within the margin of a state that is near none.
      assert.equal(estimates > 0, row > 0);
      assert.ok(estimates === 0 || Math.sqrt(off / estimates) < 0.5, `${Math.sqrt(off / estimates)}`);
    }
    return memory.team.release();
  });
});
