import assert from "node:assert/strict";
import fc from "fast-check";
import { readWeight } from "../../../model-runtime/checkpoint/tensor-data";
import { encode } from "../../../model-runtime/ids";
import type { ByteModel } from "../../../model-runtime/lexicon/byte-model";
import { CausalNetwork } from "../../../model-runtime/model/causal-network";
import { entropyOfLogits } from "../../../model-runtime/model/entropy";
import { patcherGraph } from "../../../model-runtime/model/networks";
import { patcherByteModel } from "../../../model-runtime/model/patcher-byte-model";
import { goldenCheckpoint } from "../../helpers/golden";

describe("patcherByteModel", () => {
  let network: CausalNetwork;
  let table: Float32Array;
  const create = (): ByteModel => patcherByteModel(network, table);

  before(async () => {
    const checkpoint = goldenCheckpoint("k2", { patcher_window: 16 });
    network = await CausalNetwork.load(
      () => patcherGraph({ checkpoint, int8Kernel: "float32" }),
      checkpoint.config.patcher!,
      { device: "cpu", threads: 1 },
    );
    table = readWeight(checkpoint, "model.patcher.embed_tokens.weight");
  });
  after(() => network.release());

  it("is the patcher's softmax over bytes and EOS", async () => {
    const text = new TextEncoder().encode("const value = 1;");
    const ids = encode(text);
    const width = table.length / 260;
    const embedding = new Float32Array(ids.length * width);
    for (const [i, id] of ids.entries()) embedding.set(table.subarray(id * width, (id + 1) * width), i * width);
    const inputs = { embedding: { data: embedding, shape: [ids.length, width] } };
    const { data, stride } = await network.run(network.createCache(), ids.length, inputs, null);
    const rows = await create().after(text, 0, text.length);
    assert.equal(rows.length, ids.length);
    for (const [i, row] of rows.entries()) {
      const logits = data.subarray(i * stride, i * stride + 260);
      const possible = [...logits.subarray(4), logits[2]];
      assert.ok(Math.abs(row.reduce((sum, each) => sum + each) - 1) < 1e-12);
      const entropy = row.reduce((sum, each) => sum - each * Math.log(each), 0);
      assert.ok(Math.abs(entropy - entropyOfLogits(possible)) < 1e-9);
      for (let symbol = 1; symbol < 257; symbol++)
        assert.ok(Math.abs(Math.log(row[symbol] / row[0]) - (possible[symbol] - possible[0])) < 1e-9);
    }
  });

  it("asked for any part of a text that changes at its end gives what a fresh one gives", async () => {
    const texts = fc.uint8Array({ maxLength: 60 });
    const steps = fc.array(
      fc.record({
        keep: fc.double({ min: 0, max: 1, noNaN: true }),
        added: texts,
        from: fc.double({ min: 0, max: 1, noNaN: true }),
        fork: fc.boolean(),
        ahead: texts,
        isRight: fc.boolean(),
      }),
      { maxLength: 8 },
    );
    await fc.assert(
      fc.asyncProperty(steps, async (changes) => {
        let model = create();
        let text = new Uint8Array(0);
        for (const [i, { keep, added, from, fork, ahead, isRight }] of changes.entries()) {
          if (fork) model = model.fork();
          const kept = Math.floor(keep * text.length);
          model.truncate(kept);
          text = Uint8Array.from([...text.subarray(0, kept), ...added]);
          const first = Math.floor(from * text.length);
          const next = isRight ? (changes[i + 1]?.added ?? ahead) : ahead;
          const rows = await model.after(text, first, text.length, undefined, () => next);
          const expected = await create().after(text, 0, text.length);
          assert.equal(rows.length, text.length + 1 - first);
          for (const [at, row] of rows.entries())
            for (let symbol = 0; symbol < 257; symbol++)
              assert.ok(Math.abs(Math.log(row[symbol] / expected[first + at][symbol])) < 1e-4);
        }
      }),
      { numRuns: 60 },
    );
  });

  it("stopped between two runs goes on with another text as a fresh one", async () => {
    const [one, other] = [97, 98].map((byte) => new Uint8Array(300).fill(byte));
    const model = create();
    let runs = 0;
    const signal = {
      throwIfAborted: () => {
        if (runs++ === 1) throw new Error("stopped");
      },
    } as AbortSignal;
    await assert.rejects(model.after(one, 0, one.length, signal), /stopped/);
    model.truncate(5);
    const text = Uint8Array.from([...one.subarray(0, 5), ...other]);
    const [found] = await model.after(text, 150, 150);
    const [expected] = await create().after(text, 150, 150);
    found.forEach((chance, symbol) => {
      assert.ok(Math.abs(Math.log(chance / expected[symbol])) < 1e-4);
    });
  });

  it("reads along what is likely to follow, and asks for it only then", async () => {
    const text = new TextEncoder().encode("const value");
    let runs = 0;
    const signal = { throwIfAborted: () => runs++ } as unknown as AbortSignal;
    const model = create();
    await model.after(text, 3, 3, signal, () => text.subarray(3));
    assert.equal(runs, 1);
    const notAsked = () => assert.fail("it has been read");
    for (let length = 4; length <= text.length; length++) await model.after(text, length, length, signal, notAsked);
    assert.equal(runs, 1);
  });
});
