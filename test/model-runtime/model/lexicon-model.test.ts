import assert from "node:assert/strict";
import { join } from "node:path";
import fc from "fast-check";
import { openLexiconCheckpoint, readoutMatrixName } from "../../../model-runtime/checkpoint/open-lexicon";
import { readSafetensorsHeader } from "../../../model-runtime/checkpoint/safetensors";
import { matrixShape, readTensor } from "../../../model-runtime/checkpoint/tensor-data";
import { scoreText } from "../../../model-runtime/evaluate";
import { generate, generateBeam } from "../../../model-runtime/generation/generate";
import { createRandom } from "../../../model-runtime/generation/random";
import { BOS, EOS, encode } from "../../../model-runtime/ids";
import { LexiconModel } from "../../../model-runtime/model/lexicon-model";
import type { Int8Kernel } from "../../../model-runtime/model/linear";
import type { LowRank } from "../../../model-runtime/model/low-rank";
import type { TextState } from "../../../model-runtime/model/text-state";
import { cases, testDevice } from "../../helpers/device";
import { comparedLayers, writeRandomLexicon } from "../../helpers/random-lexicon";
import { useTemporaryFolder } from "../checkpoint/fixture";
import {
  bytesOf,
  defaultFolder,
  edits,
  goldenByteModel,
  goldenDefault,
  goldenLexicon,
  lexiconFolder,
} from "../lexicon/lexicon-samples";

/** Products in float32, so that results can be compared with the reference's. */
function load(name: string): Promise<LexiconModel> {
  return LexiconModel.load(openLexiconCheckpoint(lexiconFolder(name)), {
    device: testDevice,
    threads: 1,
    int8Kernel: "float32",
  });
}

function goldenTensor(name: string, tensor: string): Float32Array {
  const folder = lexiconFolder(name);
  const entry = readSafetensorsHeader(join(folder, "golden.safetensors")).get(tensor)!;
  return readTensor({ ...entry, dtype: "F32", file: "golden.safetensors", directory: folder });
}

describe("LexiconModel against the reference implementation", () => {
  for (const name of ["plain", "blocks", "symmetric"])
    it(`${name}: distributions, readings, ended pieces and steps of every case`, async () => {
      const model = await load(name);
      for (const golden of goldenLexicon(name).cases) {
        const expected = goldenTensor(name, golden.name);
        const rule = {
          refreshThreshold: golden.rule.refresh_threshold,
          fallbackShare: golden.rule.fallback_share,
          wordLimit: golden.rule.word_limit,
        };
        const { reader, path } = model.createReader(goldenByteModel(), rule);
        for (let length = 0; length <= golden.text.length; length++) {
          if (length > 0) reader.append([golden.text[length - 1]]);
          const found = await reader.distribution();
          for (let symbol = 0; symbol < 257; symbol++) {
            const difference = Math.abs(Math.log(found[symbol]) - expected[257 * length + symbol]);
            assert.ok(difference < 1e-4, `${golden.name}, length ${length}, symbol ${symbol}: ${difference}`);
          }
          checkState(model, reader.openWord!, golden.lengths[length], `${golden.name}, length ${length}`);
          // The reference does not count the run over BOS.
          assert.equal(path.steps - 1, golden.lengths[length].steps);
          assert.equal(path.positions - 1, golden.lengths[length].positions);
        }
      }
      await model.release();
    });

  type State = ReturnType<typeof goldenLexicon>["cases"][0]["lengths"][0];
  type Opened = NonNullable<ReturnType<LexiconModel["createReader"]>["reader"]["openWord"]>;

  function checkState({ table }: LexiconModel, open: Opened, expected: State, where: string) {
    assert.deepEqual([open.place.start, open.place.opened], expected.opened, where);
    // Cuts from which no piece goes on are not asked after; weights count from the first that is.
    const written = open.place.opened - open.place.start;
    const kept = (end: number) => written - end < table.longest;
    const pieces = ({ own, pieces: added }: { own: number; pieces: readonly number[] }) => [
      ...open.cut.slice(0, own),
      ...added,
    ];
    const readings = open.word.readings.filter((reading) => table.goesOn(reading.range));
    const first = open.word.readings[0];
    const scale = expected.readings.find(([, end]) => end === first.end)![2] / first.weight;
    const same = (found: [number[], number, number][], wanted: [number[], number, number][]) => {
      for (const [path, end, weight] of found) {
        const match = wanted.find((each) => each[1] === end && each[0].join() === path.join());
        assert.ok(match !== undefined, `${where}: ${path} is not read by the reference`);
        assert.ok(Math.abs((weight * scale) / match[2] - 1) < 1e-3, where);
      }
    };
    same(
      readings.map((reading) => [pieces(reading), reading.end, reading.weight]),
      expected.readings,
    );
    const ended = open.word.ended.map((piece): [number[], number, number] => [pieces(piece), piece.end, piece.weight]);
    same(ended, expected.ended);
    assert.equal(ended.length, expected.ended.length, where);
    if (expected.readings.every(([, end]) => kept(end)) && written === 0)
      assert.equal(open.word.readings.length, expected.readings.length, where);
  }
});

describe("texts of a LexiconModel", () => {
  let model: LexiconModel;
  before(async () => {
    model = await load("plain");
  });
  after(() => model.release());

  const last = (rows: Float32Array) => rows.slice(rows.length - 260);

  function checkClose(found: Float32Array, expected: Float32Array) {
    assert.equal(found.length, expected.length);
    for (let i = 0; i < found.length; i++)
      assert.ok(
        found[i] === expected[i] || Math.abs(found[i] - expected[i]) < 1e-4,
        `${i}: ${found[i]}, ${expected[i]}`,
      );
  }

  it("appended, truncated and forked equal fresh ones", async () => {
    await fc.assert(
      fc.asyncProperty(edits, async (steps) => {
        let text: TextState = model.createSequence();
        await text.append([BOS]);
        for (const step of steps) {
          if (typeof step === "number") {
            text = text.fork();
            text.truncate(Math.max(1, Math.floor(step * text.length)));
          }
          const found = await text.append(typeof step === "number" ? [0x20 + 4] : encode(step).subarray(1));
          const ids = Array.from({ length: text.length }, (_, position) => text.idAt(position));
          if (found.length > 0) checkClose(found, await model.createSequence().append(ids));
        }
      }),
      { numRuns: cases(25) },
    );
  });

  it("give log-probabilities of all positions, equal to those of each beginning", async () => {
    const ids = encode(bytesOf("const value = con(x);"));
    const rows = await model.createSequence().append(ids, { logits: "all" });
    assert.equal(rows.length, ids.length * 260);
    for (let i = 0; i < ids.length; i++) {
      const row = rows.slice(260 * i, 260 * (i + 1));
      checkClose(row, await model.createSequence().append(ids.subarray(0, i + 1)));
      assert.ok(Math.abs(row.reduce((sum, logit) => sum + Math.exp(logit), 0) - 1) < 1e-6);
      assert.ok(Number.isFinite(row[EOS]));
      for (const impossible of [0, 1, 3]) assert.equal(row[impossible], Number.NEGATIVE_INFINITY);
    }
    assert.equal((await model.createSequence().append(ids, { logits: "none" })).length, 0);
  });

  it("read many bytes at once as one by one, with fewer runs", async () => {
    const before = bytesOf("return value;\nconst nai");
    const added = bytesOf("ve = con(x) == value;\n    return con(value);\n".repeat(3));
    const read = async (atOnce: boolean) => {
      const { reader, path } = model.createReader();
      reader.append(before);
      await reader.distribution();
      if (atOnce) return { rows: await reader.distributions(added), steps: path.steps };
      const rows: Float64Array[] = [];
      for (const byte of added) {
        reader.append([byte]);
        rows.push(await reader.distribution());
      }
      return { rows, steps: path.steps };
    };
    const [one, many] = [await read(false), await read(true)];
    for (const [i, row] of many.rows.entries())
      for (let symbol = 0; symbol < 257; symbol++)
        assert.ok(Math.abs(Math.log(row[symbol] / one.rows[i][symbol])) < 1e-4);
    assert.ok(many.steps < one.steps / 4, `${many.steps} runs, ${one.steps} one by one`);
  });

  it("begin with BOS and go on with bytes", async () => {
    const text = model.createSequence();
    await assert.rejects(text.append([100]), /id 100 at position 0/);
    await text.append([BOS, 100]);
    await assert.rejects(text.append([101, EOS]), /id 2 at position 3/);
    assert.deepEqual([text.length, text.idAt(0), text.idAt(1)], [2, BOS, 100]);
    assert.throws(() => text.truncate(3), RangeError);
  });

  it("are as before when an append is interrupted", async () => {
    const text = model.createSequence();
    const first = await text.append(encode(bytesOf("const va")));
    const signal = AbortSignal.abort(new Error("enough"));
    await assert.rejects(text.append(encode(bytesOf("lue = con(")).subarray(1), { signal }), /enough/);
    assert.equal(text.length, 9);
    text.truncate(8);
    checkClose(await text.append([0x61 + 4]), first);
  });

  it("are continued, by the most probable byte or by beam search", async () => {
    const prompt = encode(bytesOf("const value = con"));
    const bytes: number[] = [];
    for await (const { byte } of generate(model.createSequence(), prompt, { temperature: 0, maxBytes: 5 }))
      bytes.push(byte);
    const text = model.createSequence();
    let logits = await text.append(prompt);
    for (const byte of bytes) {
      assert.equal(last(logits).indexOf(Math.max(...last(logits))), byte + 4);
      logits = await text.append([byte + 4]);
    }
    const beam = await generateBeam(model.createSequence(), prompt, { width: 1, maxBytes: 5 });
    assert.deepEqual([...beam.bytes].slice(0, bytes.length), bytes.slice(0, beam.bytes.length));
  });

  it("are scored", async () => {
    const bytes = bytesOf("return value\n");
    const score = await scoreText(model, bytes);
    const rows = await model.createSequence().append(encode(bytes), { logits: "all" });
    const bits = bytes.reduce((sum, byte, i) => sum - rows[260 * i + byte + 4] / Math.LN2, 0);
    assert.ok(Math.abs(score.bits - bits) < 1e-3);
    // The last byte is predicted but not read.
    assert.equal(score.patches, model.lexicon.cut(bytes.subarray(0, -1)).pieces.length);
  });

  it("may ask the network at the same time", async () => {
    const text = model.createSequence();
    await text.append(encode(bytesOf("const ")));
    const endings = ["value", "con", "return x"].map((ending) => encode(bytesOf(ending)).subarray(1));
    const forks = endings.map(() => text.fork());
    const rows = await Promise.all(forks.map((fork, i) => fork.append(endings[i])));
    for (const [i, row] of rows.entries())
      checkClose(row, await model.createSequence().append([...encode(bytesOf("const ")), ...endings[i]]));
  });
});

describe("a LexiconModel whose rows the kernels run", () => {
  const path = useTemporaryFolder();
  const text = bytesOf("const value = con(x);\n    return value == con;\n".repeat(3));
  const options = { device: "cpu", threads: 1 } as const;

  const shapes = {
    "a readout matrix, three heads to a key head": { width: 96, heads: 6, kvHeads: 2, layers: 3, readoutMatrix: true },
    "none, wider heads": { width: 64, heads: 2, kvHeads: 2, layers: 2, readoutMatrix: false },
  };
  for (const [title, shape] of Object.entries(shapes)) {
    it(`gets what onnxruntime gives, whatever is written, taken back and forked: ${title}`, async () => {
      await writeRandomLexicon(path("model"), shape, 3);
      const checkpoint = openLexiconCheckpoint(path("model"));
      const model = await LexiconModel.load(checkpoint, options);
      const compared = await comparedLayers(model, null);
      const sequence = model.createSequence();
      await sequence.append(encode(text.subarray(0, 60)));
      for (const byte of text.subarray(60)) await sequence.append([byte + 4]);
      const copy = sequence.fork();
      for (let i = 0; i < 12; i++) {
        sequence.truncate(sequence.length - 7);
        copy.truncate(copy.length - 2);
        for (const each of [sequence, copy]) await each.append(encode(text.subarray(5 * i, 5 * i + 4)).subarray(1));
      }
      await model.createSequence().append(encode(text.subarray(0, 40)), { logits: "all" });
      const { inKernels } = compared;
      assert.ok(inKernels.includes(1) && inKernels.some((rows) => rows > 1), inKernels.join());
      compared.check();
      await compared.release();
      await model.release();
    });

    it(`takes adapters, and gets what onnxruntime gives with the same ones: ${title}`, async () => {
      await writeRandomLexicon(path("model"), shape, 4);
      const checkpoint = openLexiconCheckpoint(path("model"));
      const random = createRandom(1);
      const numbers = (count: number, size: number) =>
        Float32Array.from({ length: count }, () => size * (random() - 0.5));
      /** Side paths of layers that are joined, that stand alone, and of the readout matrix. */
      const adapterOf = (rank: number, which: RegExp): LowRank => {
        const layers = [...checkpoint.tensors.values()].filter(
          ({ name }) => which.test(name) && name.endsWith(".weight"),
        );
        const parts = layers.map((location) => {
          const [outputs, inputs] = matrixShape(location);
          const part = { a: numbers(rank * inputs, 1), b: numbers(outputs * rank, 1 / rank), inputs, outputs };
          return [location.name.slice(0, -".weight".length), part] as const;
        });
        return { rank, alpha: rank, parts: new Map(parts) };
      };
      const first = adapterOf(2, /q_proj|v_proj|down_proj/);
      const model = await LexiconModel.load(checkpoint, { ...options, adapter: first });
      const sequence = model.createSequence();
      await sequence.append(encode(text.subarray(0, 60)));
      let given: LowRank | null = first;
      for (const adapter of [
        adapterOf(3, /k_proj|o_proj|up_proj/),
        adapterOf(2, new RegExp(`_proj|${readoutMatrixName}`)),
        null,
        undefined,
      ]) {
        const compared = await comparedLayers(model, given);
        // What is there already is read anew.
        for (let i = 0; i < 20; i++) await sequence.append([text[sequence.length - 1] + 4]);
        assert.ok(compared.inKernels.length > 5, compared.inKernels.join());
        compared.check();
        await compared.release();
        if (adapter !== undefined) await model.useAdapter((given = adapter));
      }
      await model.release();
    });
  }
});

describe("the default model against the reference implementation", () => {
  const { text, rule, ...golden } = goldenDefault();

  /** Log-probability of each byte and then of EOS, and how the latent was asked for them. */
  async function read(int8Kernel: Int8Kernel | undefined) {
    const model = await LexiconModel.load(openLexiconCheckpoint(defaultFolder), { device: testDevice, int8Kernel });
    const { reader, path } = model.createReader(goldenByteModel(), {
      refreshThreshold: rule.refresh_threshold,
      fallbackShare: rule.fallback_share,
      wordLimit: rule.word_limit,
    });
    const logProbability: number[] = [];
    for (let length = 0; length <= text.length; length++) {
      if (length > 0) reader.append([text[length - 1]]);
      const distribution = await reader.distribution();
      logProbability.push(Math.log(distribution[length < text.length ? text[length] : 256]));
    }
    await model.release();
    return { logProbability, steps: path.steps - 1, positions: path.positions - 1 };
  }

  it("gives every byte the same probability in float32, in the same steps", async () => {
    const { logProbability, steps, positions } = await read("float32");
    for (const [i, found] of logProbability.entries())
      assert.ok(
        Math.abs(found - golden.log_probability[i]) < 1e-4,
        `byte ${i}: ${found}, ${golden.log_probability[i]}`,
      );
    assert.deepEqual([steps, positions], [golden.steps, golden.positions]);
  });

  it("loses little with activations of 8 bits", async () => {
    const { logProbability } = await read(undefined);
    const bits = (values: number[]) => values.reduce((sum, value) => sum - value / Math.LN2, 0) / values.length;
    const difference = bits(logProbability) - bits(golden.log_probability);
    assert.ok(Math.abs(difference) < 0.02, `${difference} bits a byte`);
  });
});
