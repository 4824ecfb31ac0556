import assert from "node:assert/strict";
import type { Checkpoint } from "../../../model-runtime/checkpoint/checkpoint";
import { openCheckpoint } from "../../../model-runtime/checkpoint/open-checkpoint";
import { quantizeCheckpoint } from "../../../model-runtime/checkpoint/quantize";
import { matrixShape } from "../../../model-runtime/checkpoint/tensor-data";
import { createRandom } from "../../../model-runtime/generation/random";
import { BOS, EOS, VOCABULARY_SIZE } from "../../../model-runtime/ids";
import { RowMemory } from "../../../model-runtime/kernels/row-kernels";
import { Blt } from "../../../model-runtime/model/blt";
import { CausalNetwork } from "../../../model-runtime/model/causal-network";
import { exactRowsKernel } from "../../../model-runtime/model/int8-kernel";
import { HIDDEN_SCORE, KvCache } from "../../../model-runtime/model/kv-cache";
import type { Int8Kernel } from "../../../model-runtime/model/linear";
import { appliedAdapter, type LowRank } from "../../../model-runtime/model/low-rank";
import {
  crossRowWidth,
  decoderGraph,
  encoderGraph,
  encoderStateLayers,
  latentGraph,
  patcherGraph,
} from "../../../model-runtime/model/networks";
import type { RowNetwork } from "../../../model-runtime/model/row-network";
import { decoderRows, latentRows, patcherRows } from "../../../model-runtime/model/row-networks";
import type { BltSequence } from "../../../model-runtime/model/sequence";
import type { Feeds } from "../../../model-runtime/session";
import { type RandomShape, randomShapes, writeRandomCheckpoint } from "../../helpers/random-checkpoint";
import { useTemporaryFolder } from "../checkpoint/fixture";

const options = { device: "cpu", threads: 1 } as const;
/** Of widths that the row kernels take; windows and patches in sight are set when they are opened. */
const base: RandomShape = {
  ...randomShapes[0][1],
  localWidth: 48,
  latentWidth: 96,
  latentHeads: 6,
  latentKvHeads: 2,
  patcherWidth: 32,
  patcherLayers: 2,
};
const cases: { title: string; shape: RandomShape; window: number; patches: number }[] = [
  { title: "k 1, projected patches, a window of 24", shape: base, window: 24, patches: 1 },
  {
    title: "k 2, as wide as its patches, grouped local heads, one latent head for all keys",
    shape: { ...base, k: 2, localKvHeads: 1, latentKvHeads: 1, latentHeads: 3 },
    window: 64,
    patches: 1,
  },
  {
    title: "k 3, five patches in sight, a key head for each latent head",
    shape: { ...base, k: 3, latentKvHeads: 6 },
    window: 512,
    patches: 5,
  },
  {
    title: "k 4, states of all encoder layers, five latent heads to a key head",
    shape: { ...base, k: 4, encoderAllLayers: true, latentWidth: 160, latentHeads: 10 },
    window: 40,
    patches: 2,
  },
];
const ids = Array.from({ length: 220 }, (_, i) =>
  i === 0 ? BOS : i === 130 ? EOS : 4 + ((i * i * 31 + (i >> 3)) % 97),
);

describe("RowNetwork", () => {
  const path = useTemporaryFolder();

  /** A random checkpoint with int8 weights, and 4 or 8 bits in the latent transformer. */
  async function open({ shape, window, patches }: (typeof cases)[number], bits: 4 | 8 = 8): Promise<Checkpoint> {
    await writeRandomCheckpoint(path("float"), shape, 7);
    await quantizeCheckpoint(openCheckpoint(path("float")), path("quantised"), { bits });
    const checkpoint = openCheckpoint(path("quantised"));
    const { config } = checkpoint;
    for (const network of [config.patcher!, config.encoder, config.decoder]) network.window = window;
    config.crossAttentionWindow = { encoder: 1, decoder: patches };
    return checkpoint;
  }

  /** Leaves all rows to onnxruntime, with an adapter. */
  async function withoutRows(model: Blt, adapter: LowRank | null = null): Promise<Blt> {
    const { checkpoint } = model;
    const source = { checkpoint, int8Kernel: model.int8Kernel ?? ("float32" as Int8Kernel) };
    const adapted = { ...source, adapter: adapter === null ? undefined : appliedAdapter(adapter, checkpoint) };
    const { patcher, encoder, latent, decoder } = model.config;
    const before = { ...model.networks };
    Object.assign(model.networks, {
      patcher: await CausalNetwork.load(patcherGraph(source), patcher!, options),
      encoder: await CausalNetwork.load(encoderGraph(source), encoder, options),
      latent: await CausalNetwork.load(latentGraph(adapted), latent, options),
      decoder: await CausalNetwork.load(decoderGraph(adapted), decoder, options),
    });
    for (const network of Object.values(before)) await network?.release();
    return model;
  }

  /** How many rows at a time a network is given to run, in order. */
  function watched(network: RowNetwork): number[] {
    const counts: number[] = [];
    const { run } = network;
    network.run = (cache, inputs, views, kept) => {
      counts.push(views.length);
      return run.call(network, cache, inputs, views, kept);
    };
    return counts;
  }

  /** Two models' texts through the same steps: so many ids are appended, or taken back; 0 goes on with forks. */
  async function compare(texts: readonly BltSequence[], steps: readonly number[]): Promise<void> {
    const differences: number[] = [];
    let now = texts;
    for (const step of steps) {
      const at = now[0].length;
      if (step === 0) now = now.map((text) => text.fork());
      else if (step < 0) for (const text of now) text.truncate(at + step);
      else {
        const logits: Float32Array[] = [];
        for (const text of now) logits.push(await text.append(ids.slice(at, at + step), { logits: "all" }));
        differences.push(relative(logits[0], logits[1]));
        differences.push(Math.abs(now[0].entropies.at(-1)! - now[1].entropies.at(-1)!));
      }
    }
    assert.deepEqual(now[0].patchStarts, now[1].patchStarts);
    checkDifferences(differences);
  }

  for (const each of cases)
    for (const bits of [8, 4] as const)
      for (const kernel of ["rows", "rows-narrow"] as const)
        it(`gives what onnxruntime gives, typed, taken back, forked and behind other runs: ${each.title}; ${bits} bits, ${kernel}`, async function () {
          if (kernel === "rows" && (await exactRowsKernel(options)) !== "rows") this.skip();
          const checkpoint = await open(each, bits);
          const load = () => Blt.load(checkpoint, { ...options, int8Kernel: kernel });
          const models = [await load(), await withoutRows(await load())];
          const { rowNetwork } = models[0].networks.latent;
          assert.equal(rowNetwork !== null, bits === 4);
          const counts = rowNetwork === null ? [] : watched(rowNetwork);
          const texts = models.map((model) => model.createSequence({ ...model.patching, newlineReset: true }));
          const typed = new Array(15).fill(1);
          const few = [2, 3, 5, 4, 2, 7, 3];
          await compare(texts, [
            1,
            1,
            1,
            70,
            ...few,
            -5,
            1,
            6,
            0,
            -60,
            ...typed,
            90,
            1,
            -12,
            ...few,
            0,
            ...typed,
            30,
            1,
          ]);
          if (bits === 4) assert.ok(counts.includes(1) && counts.some((count) => count > 2), counts.join());
          for (const model of models) await model.release();
        });

  it("gives texts that are written in turns what each gets by itself", async () => {
    const model = await Blt.load(await open(cases[1], 4), { ...options, int8Kernel: "rows-narrow" });
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

  /** The latent transformer of a checkpoint in 4 bits: by the kernels, with their help, and without. */
  async function latentOf(each: (typeof cases)[number]) {
    const checkpoint = await open(each, 4);
    const { config } = checkpoint;
    const source = { checkpoint, int8Kernel: "rows-narrow" } as const;
    const rows = latentRows(source, RowMemory.create())!;
    const both = await CausalNetwork.load(latentGraph(source), config.latent, options, rows);
    const graph = await CausalNetwork.load(latentGraph(source), config.latent, options);
    const release = () => Promise.all([both, graph].map((network) => network.release()));
    return { config, rows, both, graph, counts: watched(rows), release, createCache: () => new KvCache(config.latent) };
  }

  for (const each of cases) {
    it(`gives patches that are run together the bits that each has alone: ${each.title}`, async () => {
      const { config, rows, release, createCache } = await latentOf(each);
      const all = patches(config, [5, 1, 9, 30, 4, 2, 2, 17, 3, 3]);
      const [one, many] = [createCache(), createCache()];
      // The last ones are another document's.
      const floors = all.map((_, i) => (i < 7 ? 0 : 7));
      const alone = all.map((patch, i) => rows.run(one, inputsOf(config, [patch]), one.views(1, [floors[i]])));
      let from = 0;
      for (const count of [4, 3, 1, 2]) {
        const to = from + count;
        const found = rows.run(many, inputsOf(config, all.slice(from, to)), many.views(count, floors.slice(from, to)));
        assert.deepEqual(found, joined(alone.slice(from, to)));
        from = to;
      }
      assert.deepEqual(many.feeds(1, null), one.feeds(1, null));
      await release();
    });

    it(`gives trees of patches what onnxruntime gives, and keeps their first rows: ${each.title}`, async () => {
      const { config, both, graph, counts, release, createCache } = await latentOf(each);
      const all = patches(config, [5, 1, 9, 30, 4, 2, 2, 17, 3, 3]);
      const differences: number[] = [];
      const [ours, theirs] = [createCache(), createCache()];
      for (const [parents, kept] of [
        [[-1, 0, 1], 3],
        [[-4, -4, 1, -2], 0],
        [[-4, 0, 0, -3], 2],
        [[-6, 0, 1, 2], 4],
        [[-1, -10, 1, 1], 0],
      ] as const) {
        const inputs = inputsOf(config, all.slice(0, parents.length));
        const [found, expected] = [
          await both.runTree(ours, parents, kept, inputs),
          await graph.runTree(theirs, parents, kept, inputs),
        ];
        assert.deepEqual([found.count, found.stride, ours.length], [expected.count, expected.stride, theirs.length]);
        for (let row = 0; row < found.count; row++) differences.push(relative(rowOf(found, row), rowOf(expected, row)));
      }
      assert.deepEqual(counts, [3, 4, 4, 4, 4]);
      // What lies in slots that a tree's branches had must not be seen.
      const inputs = inputsOf(config, [all[3]]);
      const [found, expected] = [await both.run(ours, 1, inputs, null), await graph.run(theirs, 1, inputs, null)];
      differences.push(relative(found.data, expected.data));
      checkDifferences(differences);
      await release();
    });
  }

  it("gives the same bits on one thread and on several", async () => {
    // Products and contexts that are worth it.
    const checkpoint = await open({ ...cases[0], shape: { ...base, latentWidth: 256, latentHeads: 8 } }, 4);
    const { config } = checkpoint;
    const [all, past] = [patches(config, [5, 1, 9, 30, 4, 2, 2, 17]), randomPast(config, 700)];
    const results = [1, 3].map((threads) => {
      const memory = RowMemory.create(threads)!;
      const rows = latentRows({ checkpoint, int8Kernel: "rows-narrow" }, memory)!;
      const cache = new KvCache(config.latent);
      cache.append(past, 700);
      const found = [1, 2, 4, 1].map((count, i) =>
        rows.run(cache, inputsOf(config, all.slice(i, i + count)), cache.views(count, null)),
      );
      return { found, feeds: cache.feeds(1, null), release: () => memory.team.release() };
    });
    assert.deepEqual(results[1].found, results[0].found);
    assert.deepEqual(results[1].feeds, results[0].feeds);
    for (const { release } of results) await release();
  });

  it("leaves long patches, many patches and long contexts to onnxruntime, and goes on behind them", async () => {
    const { config, both, graph, counts, release, createCache } = await latentOf(cases[1]);
    const differences: number[] = [];
    const [ours, theirs] = [createCache(), createCache()];
    let expectedCounts: number[] = [];
    const step = async (lengths: number[], isInKernels: boolean) => {
      const inputs = inputsOf(config, patches(config, lengths));
      const [found, expected] = [
        await both.run(ours, lengths.length, inputs, null),
        await graph.run(theirs, lengths.length, inputs, null),
      ];
      differences.push(relative(found.data, expected.data));
      if (isInKernels) expectedCounts = [...expectedCounts, lengths.length];
      assert.deepEqual(counts, expectedCounts, `${lengths} behind ${ours.length - lengths.length}`);
    };
    await step([3, 4, 96 - 7], true);
    await step([97], false);
    await step([3, 4, 97 - 7], false);
    await step([5], true);
    await step([1, 1, 1, 1, 1], false);
    await step([2, 2, 2, 2], true);
    // As if most of what fits had been read.
    const count = 4092 - ours.length;
    const past = randomPast(config, count);
    for (const cache of [ours, theirs]) cache.append(past, count);
    await step([3, 4, 5], true);
    await step([3, 4], false);
    await step([3], false);
    for (const cache of [ours, theirs]) cache.truncate(4095);
    await step([6], true);
    await step([3], false);
    for (const cache of [ours, theirs]) cache.truncate(20);
    await step([5], true);
    checkDifferences(differences);
    await release();
  });

  it("keeps what is no number in a text from the others", async () => {
    const checkpoint = await open({ ...cases[2], window: 24 }, 4);
    const { patcher, decoder, latent, crossAttentionK } = checkpoint.config;
    const source = { checkpoint, int8Kernel: "rows-narrow" } as const;
    const memory = RowMemory.create();
    const row = (value: number, width: number) => ({ data: new Float32Array(width).fill(value), shape: [1, width] });
    const inputs = (value: number, patches: number) => ({
      embedding: row(value, patcher!.hiddenSize),
      states: row(value, decoder.hiddenSize),
      cross: { data: new Float32Array(patches * crossRowWidth(checkpoint.config)).fill(value), shape: [] },
      patchMask: row(0, patches * crossAttentionK),
    });
    const patchesOf = (value: number, bytes: number[]) => {
      const { pooled, states, patchMask } = inputsOf(checkpoint.config, patches(checkpoint.config, bytes));
      for (const { data } of [pooled, states]) (data as Float32Array).fill(value);
      return { pooled, states, patchMask };
    };
    for (const [rows, config, inputsWith] of [
      [patcherRows(source, memory)!, patcher!, inputs],
      [decoderRows(source, memory)!, decoder, inputs],
      [latentRows(source, memory)!, latent, (value: number, bytes: number) => patchesOf(value, [bytes])],
    ] as const)
      for (const length of [5, 70]) {
        const [broken, whole] = [new KvCache(config), new KvCache(config)];
        for (let i = 0; i < 70; i++)
          assert.ok(rows.run(broken, inputsWith(Number.NaN, 5), broken.views(1, null)).every(Number.isNaN));
        for (let i = 0; i < length; i++)
          assert.ok(rows.run(whole, inputsWith(1, 2), whole.views(1, null)).every(Number.isFinite), `row ${i}`);
      }
    // Nor do a tree's branches go on in what follows.
    const rows = latentRows(source, memory)!;
    const cache = new KvCache(latent);
    const whole = patchesOf(1, [3]);
    rows.run(cache, whole, cache.views(1, null));
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY]) {
      assert.ok(rows.run(cache, patchesOf(value, [3, 1, 2]), cache.treeViews([-2, -2, -1]), 0).every(Number.isNaN));
      assert.ok(rows.run(cache, whole, cache.views(1, null)).every(Number.isFinite));
    }
  });

  it("stops before it starts when the signal is aborted", async () => {
    const model = await Blt.load(await open(cases[0], 4), { ...options, int8Kernel: "rows-narrow" });
    const text = model.createSequence();
    await text.append(ids.slice(0, 10));
    await assert.rejects(text.append([ids[10]], { signal: AbortSignal.abort() }), { name: "AbortError" });
    assert.equal(text.length, 10);
    assert.equal((await text.append([ids[10]])).length, VOCABULARY_SIZE);
    await model.release();

    const { config, both, counts, release, createCache } = await latentOf(cases[0]);
    const [cache, signal] = [createCache(), AbortSignal.abort()];
    const inputs = inputsOf(config, patches(config, [3]));
    await assert.rejects(both.run(cache, 1, inputs, null, signal), { name: "AbortError" });
    await assert.rejects(both.runTree(cache, [-1], 1, inputs, signal), { name: "AbortError" });
    assert.deepEqual([cache.length, counts], [0, []]);
    await both.run(cache, 1, inputs, null);
    assert.deepEqual([cache.length, counts], [1, [1]]);
    await release();
  });

  for (const each of [cases[0], cases[3]])
    it(`takes adapters and gives what onnxruntime gives with the same ones: ${each.title}`, async () => {
      const checkpoint = await open(each, 4);
      const load = () => Blt.load(checkpoint, { ...options, int8Kernel: "rows-narrow" });
      const model = await load();
      const counts = [model.networks.latent, model.networks.decoder].map(({ rowNetwork }) => watched(rowNetwork!));
      const text = model.createSequence();
      await text.append(ids.slice(0, 30));
      const before = await text.append(ids.slice(30, 40));
      for (const adapter of [
        adapterOf(checkpoint, 3, 1),
        adapterOf(checkpoint, 8, 2),
        adapterOf(checkpoint, 3, 3),
        null,
      ]) {
        await model.useAdapter(adapter);
        const other = await withoutRows(await load(), adapter);
        const expected = other.createSequence();
        await expected.append(ids.slice(0, text.length));
        await compare([text, expected], [...new Array(8).fill(1), 2, 3, 5, -7, 1, 4, 2, 1]);
        // Far from what the base model gives.
        const again = other.createSequence();
        await again.append(ids.slice(0, 30));
        const apart = relative(await again.append(ids.slice(30, 40)), before);
        assert.ok(adapter === null ? apart < 0.05 : apart > 0.1, `${apart} from the base model`);
        await other.release();
      }
      for (const each of counts) assert.ok(each.length > 30, `${each.length} runs`);
      await model.release();
    });

  /** Random side paths of layers of the networks that adapters change. */
  function adapterOf(checkpoint: Checkpoint, rank: number, seed: number): LowRank {
    const random = createRandom(seed);
    const numbers = (count: number, size: number) =>
      Float32Array.from({ length: count }, () => size * (random() - 0.5));
    const layers = [...checkpoint.tensors.values()].filter(
      ({ name, shape }) =>
        shape.length > 1 &&
        /global_transformer|local_decoder|cross_attn|patch_embedding|^lm_head/.test(name) &&
        random() < 0.6,
    );
    const parts = layers
      .filter(({ name }) => name.endsWith(".weight"))
      .map((location) => {
        const [outputs, inputs] = matrixShape(location);
        const part = { a: numbers(rank * inputs, 1), b: numbers(outputs * rank, 1 / rank), inputs, outputs };
        return [location.name.slice(0, -".weight".length), part] as const;
      });
    return { rank, alpha: 2 * rank, parts: new Map(parts) };
  }
});

interface Patch {
  bytes: number;
  pooled: Float32Array;
  states: Float32Array;
}

/** Patches of so many bytes with random states. */
function patches(config: Checkpoint["config"], lengths: readonly number[]): Patch[] {
  const random = createRandom(4);
  const { hiddenSize } = config.encoder;
  const numbers = (count: number) => Float32Array.from({ length: count }, () => 3 * (random() - 0.5));
  const layers = encoderStateLayers(config).length;
  return lengths.map((bytes) => ({ bytes, pooled: numbers(hiddenSize), states: numbers(bytes * layers * hiddenSize) }));
}

/** Keys and values of so many patches in the latent transformer. */
function randomPast({ latent: { layers, kvHeads, headDim } }: Checkpoint["config"], count: number): Float32Array {
  const random = createRandom(9);
  return Float32Array.from({ length: layers * 2 * kvHeads * count * headDim }, () => random() - 0.5);
}

/** What the latent transformer reads of some patches. */
function inputsOf({ encoder, crossAttentionK: k }: Checkpoint["config"], all: readonly Patch[]): Feeds {
  const bytes = all.reduce((sum, patch) => sum + patch.bytes, 0);
  const mask = new Float32Array(all.length * k * bytes).fill(HIDDEN_SCORE);
  let start = 0;
  all.forEach((patch, i) => {
    for (let row = i * k * bytes; row < (i + 1) * k * bytes; row += bytes)
      mask.fill(0, row + start, row + start + patch.bytes);
    start += patch.bytes;
  });
  const states = joined(all.map((patch) => patch.states));
  return {
    pooled: { data: joined(all.map(({ pooled }) => pooled)), shape: [all.length, encoder.hiddenSize] },
    states: { data: states, shape: [bytes, states.length / bytes] },
    patchMask: { data: mask, shape: [all.length * k, bytes] },
  };
}

function joined(parts: readonly Float32Array[]): Float32Array {
  return Float32Array.from(parts.flatMap((part) => [...part]));
}

function rowOf({ data, stride }: { data: Float32Array; stride: number }, row: number): Float32Array {
  return data.subarray(row * stride, (row + 1) * stride);
}

function checkDifferences(differences: number[]): void {
  // Sums in another order let an activation fall to the other side of a half now and then; then rows differ by a step.
  differences.sort((a, b) => a - b);
  assert.ok(differences[differences.length >> 1] < 1e-5, `most: ${differences.join(" ")}`);
  assert.ok(differences.at(-1)! < 0.05, `furthest ${differences.at(-1)}`);
}

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
