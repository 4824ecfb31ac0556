import assert from "node:assert/strict";
import type { BltConfig } from "../../../model-runtime/checkpoint/config";
import { openCheckpoint } from "../../../model-runtime/checkpoint/open-checkpoint";
import { quantizeCheckpoint } from "../../../model-runtime/checkpoint/quantize";
import { BOS, EOS, VOCABULARY_SIZE } from "../../../model-runtime/ids";
import { Blt } from "../../../model-runtime/model/blt";
import { CausalNetwork } from "../../../model-runtime/model/causal-network";
import { exactRowsKernel } from "../../../model-runtime/model/int8-kernel";
import { KvCache } from "../../../model-runtime/model/kv-cache";
import type { Int8Kernel } from "../../../model-runtime/model/linear";
import type { LowRank } from "../../../model-runtime/model/low-rank";
import { crossRowWidth, decoderGraph, encoderGraph, patcherGraph } from "../../../model-runtime/model/networks";
import { decoderRows, encoderRows, patcherRows } from "../../../model-runtime/model/row-networks";
import { type RandomShape, randomShapes, writeRandomCheckpoint } from "../../helpers/random-checkpoint";
import { useTemporaryFolder } from "../checkpoint/fixture";

const options = { device: "cpu", threads: 1 } as const;
/** Of widths that the row kernels take; windows and patches in sight are set when they are opened. */
const base: RandomShape = { ...randomShapes[0][1], localWidth: 48, patcherWidth: 32, patcherLayers: 2 };
const cases: { title: string; shape: RandomShape; window: number; patches: number }[] = [
  { title: "k 1, a window of 24", shape: base, window: 24, patches: 1 },
  { title: "k 2, grouped heads", shape: { ...base, k: 2, localKvHeads: 1 }, window: 64, patches: 1 },
  { title: "k 3, five patches in sight", shape: { ...base, k: 3 }, window: 512, patches: 5 },
  {
    title: "k 4, states of all encoder layers",
    shape: { ...base, k: 4, encoderAllLayers: true },
    window: 40,
    patches: 2,
  },
];
const ids = Array.from({ length: 220 }, (_, i) =>
  i === 0 ? BOS : i === 130 ? EOS : 4 + ((i * i * 31 + (i >> 3)) % 97),
);

describe("RowNetwork", () => {
  const path = useTemporaryFolder();

  /** A random checkpoint with int8 weights. */
  async function open({ shape, window, patches }: (typeof cases)[number]) {
    await writeRandomCheckpoint(path("float"), shape, 7);
    await quantizeCheckpoint(openCheckpoint(path("float")), path("int8"));
    const checkpoint = openCheckpoint(path("int8"));
    const { config } = checkpoint;
    for (const network of [config.patcher!, config.encoder, config.decoder]) network.window = window;
    config.crossAttentionWindow = { encoder: 1, decoder: patches };
    return checkpoint;
  }

  /** Replaces the networks' single rows by onnxruntime's. */
  async function withoutRows(model: Blt): Promise<Blt> {
    const source = { checkpoint: model.checkpoint, int8Kernel: model.int8Kernel ?? ("float32" as Int8Kernel) };
    const { patcher, encoder, decoder } = model.config;
    const before = { ...model.networks };
    Object.assign(model.networks, {
      patcher: await CausalNetwork.load(patcherGraph(source), patcher!, options),
      encoder: await CausalNetwork.load(encoderGraph(source), encoder, options),
      decoder: await CausalNetwork.load(decoderGraph(source), decoder, options),
    });
    for (const network of [before.patcher, before.encoder, before.decoder]) await network?.release();
    return model;
  }

  for (const each of cases)
    for (const kernel of ["rows", "rows-narrow"] as const)
      it(`gives what onnxruntime gives, typed, taken back and behind other runs: ${each.title}, ${kernel}`, async function () {
        if (kernel === "rows" && (await exactRowsKernel(options)) !== "rows") this.skip();
        const checkpoint = await open(each);
        const load = () => Blt.load(checkpoint, { ...options, int8Kernel: kernel });
        const models = [await load(), await withoutRows(await load())];
        const texts = models.map((model) => model.createSequence({ ...model.patching, newlineReset: true }));
        const differences: number[] = [];
        const differ = async (chunk: number[]) => {
          const [ours, theirs] = [await texts[0].append(chunk), await texts[1].append(chunk)];
          differences.push(relative(ours, theirs));
          differences.push(Math.abs(texts[0].entropies.at(-1)! - texts[1].entropies.at(-1)!));
        };
        let at = 0;
        for (const step of [1, 1, 1, 70, 1, 1, 1, -5, 1, 1, -60, 1, 1, 90, 1, 1, 1, 30, ...new Array(40).fill(1)]) {
          if (step > 0) await differ(ids.slice(at, at + step));
          else for (const text of texts) text.truncate(at + step);
          at += step;
        }
        assert.deepEqual(texts[0].patchStarts, texts[1].patchStarts);
        // Sums in another order let an activation fall to the other side of a half now and then; then rows differ by a step.
        differences.sort((a, b) => a - b);
        assert.ok(differences[differences.length >> 1] < 1e-5, `most: ${differences.join(" ")}`);
        assert.ok(differences.at(-1)! < 0.05, `furthest ${differences.at(-1)}`);
        for (const model of models) await model.release();
      });

  it("gives two texts that are written in turns what each gets by itself", async () => {
    const model = await Blt.load(await open(cases[1]), options);
    const alone: Float32Array[] = [];
    const text = model.createSequence();
    await text.append(ids.slice(0, 50));
    const other = text.fork();
    for (const id of ids.slice(50, 70)) alone.push(await text.append([id]));
    const [one, two] = [model.createSequence(), other];
    await one.append(ids.slice(0, 50));
    for (const [i, id] of ids.slice(50, 70).entries()) {
      assert.deepEqual(await one.append([id]), alone[i]);
      assert.deepEqual(await two.append([id]), alone[i]);
    }
    await model.release();
  });

  it("keeps what is no number in a text from the others", async () => {
    const checkpoint = await open({ ...cases[2], window: 24 });
    const { patcher, decoder, crossAttentionK } = checkpoint.config;
    const source = { checkpoint, int8Kernel: "rows-narrow" } as const;
    const row = (value: number, width: number) => ({ data: new Float32Array(width).fill(value), shape: [1, width] });
    const inputs = (value: number, patches: number) => ({
      embedding: row(value, patcher!.hiddenSize),
      states: row(value, decoder.hiddenSize),
      cross: { data: new Float32Array(patches * crossRowWidth(checkpoint.config)).fill(value), shape: [] },
      patchMask: row(0, patches * crossAttentionK),
    });
    for (const [rows, config] of [
      [patcherRows(source, options)!, patcher!],
      [decoderRows(source, options)!, decoder],
    ] as const)
      for (const length of [5, 70]) {
        const [broken, whole] = [new KvCache(config), new KvCache(config)];
        for (let i = 0; i < 70; i++) assert.ok(rows.run(broken, inputs(Number.NaN, 5), 0).every(Number.isNaN));
        for (let i = 0; i < length; i++) assert.ok(rows.run(whole, inputs(1, 2), 0).every(Number.isFinite), `row ${i}`);
      }
  });

  it("stops before it starts when the signal is aborted", async () => {
    const model = await Blt.load(await open(cases[0]), options);
    const text = model.createSequence();
    await text.append(ids.slice(0, 10));
    await assert.rejects(text.append([ids[10]], { signal: AbortSignal.abort() }), { name: "AbortError" });
    assert.equal(text.length, 10);
    assert.equal((await text.append([ids[10]])).length, VOCABULARY_SIZE);
    await model.release();
  });

  it("is there for what the row kernels can run only", async () => {
    const checkpoint = await open(cases[0]);
    const all = (
      change: (config: BltConfig) => void = () => {},
      int8Kernel: Int8Kernel = "rows-narrow",
      device = "cpu",
    ) => {
      const source = { checkpoint: { ...checkpoint, config: structuredClone(checkpoint.config) }, int8Kernel };
      change(source.checkpoint.config);
      return [patcherRows, encoderRows, decoderRows].map((rows) => rows(source, { device } as never) !== null);
    };
    assert.deepEqual(all(), [true, true, true]);
    assert.deepEqual(all(undefined, "float32"), [false, false, false]);
    assert.deepEqual(all(undefined, "blocked"), [false, false, false]);
    assert.deepEqual(all(undefined, "rows", "cuda"), [false, false, false]);
    assert.deepEqual(
      all((config) => {
        config.encoder.window = null;
      }),
      [true, false, true],
    );
    assert.deepEqual(
      all((config) => {
        config.patcher!.headDim = 8;
        config.decoder.crossAttentionHeads = 6;
      }),
      [false, true, false],
    );
    // Room for all that a row can see is made at once.
    assert.deepEqual(
      all((config) => {
        config.patcher!.window = 10 ** 9;
        config.crossAttentionWindow.decoder = 10 ** 9;
      }),
      [false, true, false],
    );
    const float = openCheckpoint(path("float"));
    assert.equal(encoderRows({ checkpoint: float, int8Kernel: "rows" }, options), null);
  });

  it("is left to onnxruntime where the system has no addresses for a memory", async () => {
    const checkpoint = await open(cases[0]);
    const { Memory } = WebAssembly;
    WebAssembly.Memory = class {
      constructor() {
        throw new RangeError("WebAssembly.Memory(): could not allocate memory");
      }
    } as unknown as typeof Memory;
    try {
      assert.equal(encoderRows({ checkpoint, int8Kernel: "rows-narrow" }, options), null);
    } finally {
      WebAssembly.Memory = Memory;
    }
  });

  it("leaves a decoder with an adapter to onnxruntime", async () => {
    const checkpoint = await open(cases[0]);
    const adapter: LowRank = { rank: 1, alpha: 1, parts: new Map() };
    const model = await Blt.load(checkpoint, { ...options, int8Kernel: "rows-narrow" });
    const runsRows = () =>
      [model.networks.encoder, model.networks.decoder].map(({ rowNetwork }) => rowNetwork !== null);
    assert.deepEqual(runsRows(), [true, true]);
    await model.useAdapter(adapter);
    assert.deepEqual(runsRows(), [true, false]);
    await model.useAdapter(null);
    assert.deepEqual(runsRows(), [true, true]);
    await model.release();
  });
});

/** Root of the mean square of the difference, as a part of the values'. */
function relative(found: Float32Array, expected: Float32Array): number {
  assert.equal(found.length, expected.length);
  let [error, power] = [0, 0];
  found.forEach((value, i) => {
    error += (value - expected[i]) ** 2;
    power += expected[i] ** 2;
  });
  return Math.sqrt(error / power);
}
