import assert from "node:assert/strict";
import { openLexiconCheckpoint } from "../../../model-runtime/checkpoint/open-lexicon";
import { readBytes, readTensor } from "../../../model-runtime/checkpoint/tensor-data";
import { Graph } from "../../../model-runtime/graph/graph";
import { discard, hasPlainBlocks, makeLatentRows } from "../../../model-runtime/model/latent-rows";
import { LexiconModel } from "../../../model-runtime/model/lexicon-model";
import { bytesOf, lexiconFolder } from "../lexicon/lexicon-samples";

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

  for (const isNarrow of [false, true])
    it(`hold each weight to half a step, ${isNarrow ? "in 7" : "in 8"} bits, turned and joined`, async () => {
      const { weights, file } = await makeLatentRows(
        checkpoint,
        checkpoint.config.latent,
        { isNarrow, isTurned: false },
        [],
      );
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

  it("know the range of inputs that are normed in a basis of their own", async () => {
    for (const isTurned of [true, false]) {
      const { rows } = await makeLatentRows(checkpoint, checkpoint.config.latent, { isNarrow: false, isTurned }, []);
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

describe("long runs of a LexiconModel", () => {
  const text = bytesOf("for (const value of values) total += value * scale[value % 7];\n".repeat(6));
  const load = (folder: string, int8Kernel: "blocked" | "float32") =>
    LexiconModel.load(openLexiconCheckpoint(folder), { device: "cpu", threads: 1, int8Kernel });

  it("go through rows once they are prepared, and give what blocks give up to rounding", async () => {
    const model = await load(lexiconFolder("symmetric"), "blocked");
    const ask = async (bytes: Uint8Array) => {
      const { reader } = model.createReader();
      reader.append(bytes);
      return Array.from(await reader.distribution());
    };
    const [long, short] = [await ask(text), await ask(text.subarray(0, 20))];
    assert.equal(model.longRuns.canPrepare, true);
    await model.longRuns.prepare(0);
    assert.equal(model.longRuns.canPrepare, false);
    assert.deepEqual(await ask(text.subarray(0, 20)), short);
    const found = await ask(text);
    const apart = Math.max(...found.map((p, i) => Math.abs(Math.log(p / long[i]))));
    assert.ok(apart > 0 && apart < 0.1, `log-probabilities ${apart} apart`);
    assert.deepEqual(await ask(text), found);
    await model.useAdapter(null);
    assert.deepEqual(await ask(text), long);
    assert.equal(model.longRuns.canPrepare, true);
    await model.release();
  });

  it("stay as they are where the second form is not faster enough", async () => {
    const model = await load(lexiconFolder("symmetric"), "blocked");
    const ask = async () => {
      const { reader } = model.createReader();
      reader.append(text);
      return Array.from(await reader.distribution());
    };
    const before = await ask();
    await model.longRuns.prepare(Number.POSITIVE_INFINITY);
    assert.deepEqual(await ask(), before);
    assert.equal(model.longRuns.canPrepare, false);
    await model.release();
  });

  it("are given up with the model", async () => {
    const model = await load(lexiconFolder("symmetric"), "blocked");
    const preparing = assert.rejects(model.longRuns.prepare(0), { name: "AbortError" });
    await model.release();
    await preparing;
  });

  it("stay as they are where products are in float32 or blocks have minima", async () => {
    for (const [name, kernel] of [
      ["symmetric", "float32"],
      ["blocks", "blocked"],
    ] as const) {
      const model = await load(lexiconFolder(name), kernel);
      assert.equal(model.longRuns.canPrepare, false);
      await model.longRuns.prepare();
      await model.release();
    }
  });
});
