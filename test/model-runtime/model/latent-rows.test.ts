import assert from "node:assert/strict";
import { openLexiconCheckpoint } from "../../../model-runtime/checkpoint/open-lexicon";
import { readBytes, readTensor } from "../../../model-runtime/checkpoint/tensor-data";
import { Graph } from "../../../model-runtime/graph/graph";
import { discard, hasPlainBlocks, latentRowsBytes, makeLatentRows } from "../../../model-runtime/model/latent-rows";
import { lexiconFolder } from "../lexicon/lexicon-samples";

const layer = "model.global_transformer.layers.0";

describe("int8 rows of 4-bit blocks", () => {
  const checkpoint = openLexiconCheckpoint(lexiconFolder("symmetric"));

  it("are made of layers in blocks without minima only", () => {
    const found = ["symmetric", "blocks", "plain"].map((name) => {
      const other = openLexiconCheckpoint(lexiconFolder(name));
      return hasPlainBlocks(other, other.config.latent);
    });
    assert.deepEqual(found, [true, false, false]);
  });

  it("take a byte a weight, none where they cannot be made", () => {
    const { latent } = checkpoint.config;
    const layers = [...checkpoint.tensors.values()].filter(
      ({ name, dtype }) => name.startsWith("model.global_transformer.layers.") && dtype === "U8",
    );
    assert.equal(
      latentRowsBytes(checkpoint, latent),
      layers.reduce((sum, { shape }) => sum + shape[0] * shape[1] * 32, 0),
    );
    const other = openLexiconCheckpoint(lexiconFolder("blocks"));
    assert.equal(latentRowsBytes(other, other.config.latent), 0);
  });

  for (const isNarrow of [false, true])
    it(`hold each weight to half a step, ${isNarrow ? "in 7" : "in 8"} bits, turned and joined`, () => {
      const { weights, file } = makeLatentRows(
        checkpoint,
        checkpoint.config.latent,
        { isNarrow, isTurned: false },
        [],
      )!;
      const bytes = (name: string) => {
        const { offset, length } = weights.tensors.get(name)!;
        return file.data.slice(offset, offset + length).buffer;
      };
      const names = ["q", "k", "v"].map((which) => `${layer}.self_attn.${which}_proj`);
      const [rows, steps] = [
        new Int8Array(bytes(names.join("+"))),
        new Float32Array(bytes(`${names.join("+")}_scale`)),
      ];
      let output = 0;
      for (const name of names) {
        const pairs = readBytes(checkpoint.tensors.get(`${name}.weight`)!);
        const location = checkpoint.tensors.get(`${name}.weight_scale`)!;
        const scales = readTensor(location);
        for (let row = 0; row < location.shape[0]; row++, output++) {
          let largest = 0;
          for (let input = 0; input < 32; input++) {
            const number = (pairs[row * 16 + (input >> 1)] >> (4 * (input & 1))) & 15;
            const value = rows[input * steps.length + output];
            const error = Math.abs(value * steps[output] - (number - 8) * scales[row]);
            assert.ok(error <= steps[output] * 0.5001, `${name}, row ${row}, input ${input}: ${error}`);
            largest = Math.max(largest, Math.abs(value));
          }
          assert.equal(largest, isNarrow ? 63 : 127);
        }
      }
      assert.equal(output, steps.length);
    });

  it("know the range of inputs that are normed in a basis of their own", () => {
    for (const isTurned of [true, false]) {
      const { rows } = makeLatentRows(checkpoint, checkpoint.config.latent, { isNarrow: false, isTurned }, [])!;
      const ranges = [["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"], ["mlp.down_proj"]].map((names) =>
        rows(
          new Graph("rows"),
          names.map((name) => `${layer}.${name}`),
        ),
      );
      assert.deepEqual(
        ranges.map((each) => each?.range),
        [isTurned ? 6 : null, null],
      );
    }
  });
});

describe("discard", () => {
  it("leaves nothing of an array", () => {
    const data = new Uint8Array(1000).fill(7);
    discard(data);
    assert.equal(data.length, 0);
  });
});
