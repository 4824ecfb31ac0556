import assert from "node:assert/strict";
import fc from "fast-check";
import { scoreText } from "../../../model-runtime/evaluate";
import { generate, generateBeam } from "../../../model-runtime/generation/generate";
import { BOS, EOS, encode } from "../../../model-runtime/ids";
import type { Blt } from "../../../model-runtime/model/blt";
import { MixedModel, type MixedOptions } from "../../../model-runtime/ngram/mixed-model";
import { learningRates } from "../../../model-runtime/ngram/mixture";
import { WorkspaceIndex } from "../../../model-runtime/ngram/workspace-index";
import { loadGolden } from "../../helpers/golden";
import { bytesOf } from "./samples";

describe("MixedModel", () => {
  let network: Blt;
  const workspace = new WorkspaceIndex();
  workspace.set("a.ts", bytesOf("const first = load(name);\nconst second = load(other);\n"));
  before(async () => {
    network = await loadGolden("k2");
  });
  after(() => network.release());

  const variants: [string, () => MixedOptions][] = [
    ["counts alone", () => ({ network: null, workspace })],
    ["counts alone, learning", () => ({ network: null, workspace, learning: learningRates })],
    ["mixed", () => ({ network, workspace })],
    ["mixed, learning", () => ({ network, workspace, learning: learningRates })],
  ];

  for (const [name, options] of variants)
    it(`${name}: after appends, truncations and forks is what a fresh text is`, async () => {
      const ids = fc.array(fc.constantFrom(...encode(bytesOf("const = load(")), EOS), { minLength: 1, maxLength: 12 });
      const step = fc.record({
        keep: fc.nat(),
        ids,
        fork: fc.boolean(),
        logits: fc.constantFrom("all", "last", "none"),
      });
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 5 }), async (steps) => {
          const model = new MixedModel(options());
          let sequence = model.createSequence();
          let expected: number[] = [];
          let last = new Float32Array(0);
          for (const { keep, ids: more, fork, logits } of [{ ...steps[0], ids: [BOS] }, ...steps]) {
            const length = expected.length === 0 ? 0 : 1 + (keep % expected.length);
            sequence.truncate(length);
            if (fork) {
              const copy = sequence.fork();
              await sequence.append([120, 121]);
              sequence = copy;
            }
            expected = [...expected.slice(0, length), ...more];
            await sequence.append(more.slice(0, -1), { logits: logits as "all" });
            last = new Float32Array(await sequence.append(more.slice(-1)));
          }
          const fresh = model.createSequence();
          const rows = await fresh.append(expected);
          assert.equal(sequence.length, expected.length);
          assert.deepEqual(
            expected.map((_, i) => sequence.idAt(i)),
            expected,
          );
          for (let id = 0; id < 260; id++) {
            const difference = last[id] === rows[id] ? 0 : Math.abs(last[id] - rows[id]);
            assert.ok(difference < 1e-3, `id ${id}: ${last[id]} and ${rows[id]}`);
          }
          for (let i = 0; i < sequence.mixtureWeights.length; i++) {
            assert.ok(Math.abs(sequence.mixtureWeights[i] - fresh.mixtureWeights[i]) < 1e-3);
          }
        }),
        { numRuns: 25 },
      );
    });

  it("gives every row that is asked for, each a distribution among bytes and EOS", async () => {
    for (const [, options] of variants) {
      const sequence = new MixedModel(options()).createSequence();
      const ids = encode(bytesOf("const x"));
      const rows = await sequence.append(ids, { logits: "all" });
      assert.equal(rows.length, ids.length * 260);
      for (let row = 0; row < ids.length; row++) {
        const logits = rows.subarray(row * 260, (row + 1) * 260);
        assert.ok(Math.abs(logits.reduce((sum, log) => sum + Math.exp(log), 0) - 1) < 1e-5);
        assert.deepEqual([logits[0], logits[1], logits[3]], Array(3).fill(Number.NEGATIVE_INFINITY));
      }
      assert.equal((await sequence.append([101], { logits: "none" })).length, 0);
    }
  });

  it("scores what the workspace has better than the network alone, learning or not", async () => {
    const text = bytesOf("const first = load(name);\nconst third = load(other);\n");
    const alone = (await scoreText(network, text)).bits;
    for (const [name, options] of variants) {
      const { bits, bytes, patches } = await scoreText(new MixedModel(options()), text);
      assert.ok(bits < alone / 2, `${name}: ${bits} of ${alone}`);
      assert.equal(bytes, text.length);
      assert.ok(patches > 0);
    }
  });

  it("patches as the network does", async () => {
    const ids = encode(bytesOf("const first = 1;\n"));
    const [plain, mixed] = [network.createSequence(), new MixedModel({ network, workspace }).createSequence()];
    await plain.append(ids);
    await mixed.append(ids);
    assert.deepEqual(mixed.patchStarts, plain.patchStarts);
  });

  it("writes from the workspace", async () => {
    const model = new MixedModel({ network, workspace });
    const written: number[] = [];
    const options = { temperature: 0, maxBytes: 19 };
    for await (const { byte } of generate(model.createSequence(), encode(bytesOf("\nconst sec")), options))
      written.push(byte);
    assert.equal(Buffer.from(written).toString(), "ond = load(other);\n");
    const beam = await generateBeam(model.createSequence(), encode(bytesOf("const fir")), { width: 2, maxBytes: 5 });
    assert.equal(Buffer.from(beam.bytes).toString(), "st = ");
  });

  it("is as it was when a run is ended early", async () => {
    for (const [, options] of variants) {
      const sequence = new MixedModel(options()).createSequence();
      await sequence.append(encode(bytesOf("const ")));
      const expected = await sequence.fork().append([106]);
      const signal = AbortSignal.abort(new Error("enough"));
      await assert.rejects(sequence.append([101, 102, 103], { signal }), /enough/);
      assert.equal(sequence.length, 7);
      const found = await sequence.append([106]);
      for (let id = 4; id < 260; id++) assert.ok(Math.abs(found[id] - expected[id]) < 1e-3);
    }
  });
});
