import assert from "node:assert/strict";
import { cpSync } from "node:fs";
import type { Checkpoint } from "../../../model-runtime/checkpoint/checkpoint";
import type { TransformerConfig } from "../../../model-runtime/checkpoint/config";
import { openCheckpoint } from "../../../model-runtime/checkpoint/open-checkpoint";
import { quantizeCheckpoint } from "../../../model-runtime/checkpoint/quantize";
import { matrixShape } from "../../../model-runtime/checkpoint/tensor-data";
import { createRandom } from "../../../model-runtime/generation/random";
import type { Graph } from "../../../model-runtime/graph/graph";
import { BOS, EOS, VOCABULARY_SIZE } from "../../../model-runtime/ids";
import { nativeKernels } from "../../../model-runtime/kernels/native";
import { RowMemory } from "../../../model-runtime/kernels/row-kernels";
import { Blt } from "../../../model-runtime/model/blt";
import { CausalNetwork } from "../../../model-runtime/model/causal-network";
import { exactRowsKernel } from "../../../model-runtime/model/int8-kernel";
import { HIDDEN_SCORE, KvCache } from "../../../model-runtime/model/kv-cache";
import { rowLevels } from "../../../model-runtime/model/linear";
import { appliedAdapter, type LowRank } from "../../../model-runtime/model/low-rank";
import {
  crossRowWidth,
  decoderGraph,
  encoderGraph,
  encoderStateLayers,
  latentGraph,
  patcherGraph,
} from "../../../model-runtime/model/networks";
import { pooledPatches } from "../../../model-runtime/model/pooled-rows";
import { patchKeysHead } from "../../../model-runtime/model/row-heads";
import { RowNetwork } from "../../../model-runtime/model/row-network";
import { decoderRows, patcherRows } from "../../../model-runtime/model/row-networks";
import type { Feeds } from "../../../model-runtime/session";
import { ComparedRuns } from "../../helpers/compared-runs";
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
    title: "k 3, five patches in sight, and two to each patch, a key head for each latent head",
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

for (const isNative of [false, true])
  describe(`RowNetwork, ${isNative ? "native kernels" : "WebAssembly"}`, () => {
    before(function () {
      if (isNative && nativeKernels() === null) this.skip();
    });

    const path = useTemporaryFolder();

    /** A random checkpoint with 4 bits in the latent transformer, int8 weights elsewhere. */
    async function open({ shape, window, patches }: (typeof cases)[number]): Promise<Checkpoint> {
      await writeRandomCheckpoint(path("float"), shape, 7);
      await quantizeCheckpoint(openCheckpoint(path("float")), path("quantised"), { bits: 4 });
      const checkpoint = openCheckpoint(path("quantised"));
      const { config } = checkpoint;
      for (const network of [config.patcher!, config.encoder, config.decoder]) network.window = window;
      config.crossAttentionWindow = { encoder: patches > 2 ? 2 : 1, decoder: patches };
      return checkpoint;
    }

    /** The networks that a model has now, watched; `adapter` is that of latent transformer and decoder. */
    async function comparedNetworks({ checkpoint, int8Kernel, networks }: Blt, adapter: LowRank | null = null) {
      const source = { checkpoint, int8Kernel: int8Kernel! };
      const adapted = { ...source, adapter: adapter === null ? undefined : appliedAdapter(adapter, checkpoint) };
      const { patcher, encoder, latent, decoder } = checkpoint.config;
      const watch = async (network: CausalNetwork, graph: Graph, config: TransformerConfig) =>
        new ComparedRuns(network, await CausalNetwork.load(() => graph, config, options));
      return {
        patcher: await watch(networks.patcher!, patcherGraph(source), patcher!),
        encoder: await watch(networks.encoder, encoderGraph(source), encoder),
        latent: await watch(networks.latent, latentGraph({ ...adapted, byteKeys: true }), latent),
        decoder: await watch(networks.decoder, decoderGraph(adapted), decoder),
      };
    }

    /** How many rows at a time a network is given to run, in order. */
    function watched(network: RowNetwork): number[] {
      const counts: number[] = [];
      const { run } = network;
      network.run = (cache, inputs, views, part) => {
        counts.push(views.length);
        return run.call(network, cache, inputs, views, part);
      };
      return counts;
    }

    for (const each of cases)
      for (const kernel of ["rows", "rows-narrow"] as const)
        it(`gives what onnxruntime gives, typed, taken back, forked and behind other runs: ${each.title}, ${kernel}`, async function () {
          if (kernel === "rows" && (await exactRowsKernel(options)) !== "rows") this.skip();
          const model = await Blt.load(await open(each), { ...options, nativeKernels: isNative, int8Kernel: kernel });
          const compared = await comparedNetworks(model);
          let text = model.createSequence({ ...model.patching, newlineReset: true });
          const typed = new Array(15).fill(1);
          const few = [2, 3, 5, 4, 2, 7, 3];
          // So many ids are appended, or taken back; 0 goes on with a copy.
          for (const step of [
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
          ]) {
            if (step === 0) text = text.fork();
            else if (step < 0) text.truncate(text.length + step);
            else await text.append(ids.slice(text.length, text.length + step), { logits: "all" });
          }
          const { latent, ...bytes } = compared;
          for (const { inKernels } of Object.values(bytes))
            assert.ok(inKernels.length > 30 && (isNative || inKernels.every((rows) => rows === 1)));
          assert.ok(latent.inKernels.includes(1) && latent.inKernels.some((rows) => rows > 1), latent.inKernels.join());
          for (const network of Object.values(compared)) {
            network.check();
            await network.release();
          }
          await model.release();
        });

    it("gives texts that are written in turns what each gets by itself", async () => {
      const model = await Blt.load(await open(cases[1]), {
        ...options,
        nativeKernels: isNative,
        int8Kernel: "rows-narrow",
      });
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

    /** The latent transformer for four rows at a time, whatever models take. */
    function latentNetwork(checkpoint: Checkpoint, memory: RowMemory): RowNetwork {
      const { config } = checkpoint;
      const parts = {
        prefix: "model.global_transformer",
        config: config.latent,
        input: pooledPatches(config),
        resultLayers: [],
        head: patchKeysHead(config),
        cross: null,
      };
      return new RowNetwork(memory, checkpoint, parts, rowLevels("rows-narrow")!, 4, 0);
    }

    /** A latent transformer, watched, and what of it the kernels run. */
    async function latentOf(each: (typeof cases)[number]) {
      return latentIn(await open(each));
    }

    async function latentIn(checkpoint: Checkpoint) {
      const { config } = checkpoint;
      const source = { checkpoint, int8Kernel: "rows-narrow", byteKeys: true } as const;
      const rows = latentNetwork(checkpoint, RowMemory.create(1, isNative)!);
      const network = await CausalNetwork.load(() => latentGraph(source), config.latent, options, rows);
      const compared = new ComparedRuns(
        network,
        await CausalNetwork.load(() => latentGraph(source), config.latent, options),
      );
      const release = () => Promise.all([network, compared].map((each) => each.release()));
      return { config, rows, network, compared, release };
    }

    for (const each of cases) {
      it(`gives patches that are run together the bits that each has alone: ${each.title}`, async () => {
        const { config, rows, network, release } = await latentOf(each);
        const all = patches(config, [5, 1, 9, 30, 4, 2, 2, 17, 3, 3]);
        const [one, many] = [network.createCache(), network.createCache()];
        // The last ones are another document's.
        const floors = all.map((_, i) => (i < 7 ? 0 : 7));
        const alone = all.map((patch, i) => rows.run(one, inputsOf(config, [patch]), one.views(1, [floors[i]])));
        let from = 0;
        for (const count of [4, 3, 1, 2]) {
          const to = from + count;
          const found = rows.run(
            many,
            inputsOf(config, all.slice(from, to)),
            many.views(count, floors.slice(from, to)),
          );
          assert.deepEqual(found, joined(alone.slice(from, to)));
          from = to;
        }
        assert.deepEqual(many.feeds(1, null), one.feeds(1, null));
        await release();
      });

      it(`gives trees of patches what onnxruntime gives, and keeps their first rows: ${each.title}`, async () => {
        const { config, network, compared, release } = await latentOf(each);
        const all = patches(config, [5, 1, 9, 30, 4, 2, 2, 17, 3, 3]);
        const cache = network.createCache();
        for (const [parents, kept] of [
          [[-1, 0, 1], 3],
          [[-4, -4, 1, -2], 0],
          [[-4, 0, 0, -3], 2],
          [[-6, 0, 1, 2], 4],
          [[-1, -10, 1, 1], 0],
        ] as const) {
          await network.runTree(cache, parents, kept, inputsOf(config, all.slice(0, parents.length)));
          // What lies in slots that a tree's branches had must not be seen.
          await network.run(cache.fork(), 1, inputsOf(config, [all[3]]), null);
        }
        assert.deepEqual(compared.inKernels, [3, 1, 4, 1, 4, 1, 4, 1, 4, 1]);
        assert.equal(cache.length, 9);
        compared.check();
        await release();
      });
    }

    it("takes what lies around the latent transformer as floats too", async () => {
      const checkpoint = await open(cases[3]);
      // All of a graph's weights must lie in one folder.
      cpSync(path("float", "model.safetensors"), path("quantised", "floats.safetensors"));
      const tensors = new Map(checkpoint.tensors);
      for (const [name, location] of openCheckpoint(path("float")).tensors)
        if (/patch_embedding_projection|cross_attn|token_embedding_projection/.test(name))
          tensors.set(name, { ...location, directory: checkpoint.directory, file: "floats.safetensors" });
      const { config, network, compared, release } = await latentIn({ ...checkpoint, tensors });
      const cache = network.createCache();
      for (const lengths of [[3], [4, 1, 7], [20], [2, 2]])
        await network.run(cache, lengths.length, inputsOf(config, patches(config, lengths)), null);
      assert.deepEqual(compared.inKernels, [1, 3, 1, 2]);
      compared.check();
      await release();
    });

    it("gives the same bits on one thread and on several", async () => {
      // Products and contexts that are worth it.
      const checkpoint = await open({ ...cases[0], shape: { ...base, latentWidth: 256, latentHeads: 8 } });
      const { config } = checkpoint;
      const [all, past] = [patches(config, [5, 1, 9, 30, 4, 2, 2, 17]), randomPast(config, 700)];
      const results = [1, 3].map((threads) => {
        const memory = RowMemory.create(threads, isNative)!;
        const rows = latentNetwork(checkpoint, memory);
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

    it("leaves long patches, many patches and long contexts to onnxruntime, and goes on behind them", async function () {
      // They take many patches, and more bytes.
      if (isNative) this.skip();
      const { config, network, compared, release } = await latentOf(cases[1]);
      const cache = network.createCache();
      const step = async (lengths: number[], isInKernels: boolean) => {
        const { length } = compared.inKernels;
        await network.run(cache, lengths.length, inputsOf(config, patches(config, lengths)), null);
        const rows = isInKernels ? [lengths.length] : [];
        assert.deepEqual(compared.inKernels.slice(length), rows, `${lengths} behind ${cache.length - lengths.length}`);
      };
      await step([3, 4, 96 - 7], true);
      await step([97], false);
      await step([3, 4, 97 - 7], false);
      await step([5], true);
      await step([1, 1, 1, 1, 1], false);
      await step([2, 2, 2, 2], true);
      // As if most of what fits had been read.
      const count = 4092 - cache.length;
      cache.append(randomPast(config, count), count);
      await step([3, 4, 5], true);
      await step([3, 4], false);
      await step([3], false);
      cache.truncate(4095);
      await step([6], true);
      await step([3], false);
      cache.truncate(20);
      await step([5], true);
      compared.check();
      await release();
    });

    it("keeps what is no number in a text from the others", async () => {
      const checkpoint = await open({ ...cases[2], window: 24 });
      const { patcher, decoder, latent, crossAttentionK } = checkpoint.config;
      const source = { checkpoint, int8Kernel: "rows-narrow" } as const;
      const memory = RowMemory.create(1, isNative)!;
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
        [latentNetwork(checkpoint, memory), latent, (value: number, bytes: number) => patchesOf(value, [bytes])],
      ] as const)
        for (const length of [5, 70]) {
          const [broken, whole] = [new KvCache(config), new KvCache(config)];
          for (let i = 0; i < 70; i++)
            assert.ok(rows.run(broken, inputsWith(Number.NaN, 5), broken.views(1, null)).every(Number.isNaN));
          for (let i = 0; i < length; i++)
            assert.ok(rows.run(whole, inputsWith(1, 2), whole.views(1, null)).every(Number.isFinite), `row ${i}`);
        }
      // Nor do a tree's branches go on in what follows.
      const rows = latentNetwork(checkpoint, memory);
      const cache = new KvCache(latent);
      const whole = patchesOf(1, [3]);
      rows.run(cache, whole, cache.views(1, null));
      for (const value of [Number.NaN, Number.POSITIVE_INFINITY]) {
        assert.ok(
          rows.run(cache, patchesOf(value, [3, 1, 2]), cache.treeViews([-2, -2, -1]), { kept: 0 }).every(Number.isNaN),
        );
        assert.ok(rows.run(cache, whole, cache.views(1, null)).every(Number.isFinite));
      }
    });

    it("stops before it starts when the signal is aborted", async () => {
      const model = await Blt.load(await open(cases[0]), {
        ...options,
        nativeKernels: isNative,
        int8Kernel: "rows-narrow",
      });
      const text = model.createSequence();
      await text.append(ids.slice(0, 10));
      await assert.rejects(text.append([ids[10]], { signal: AbortSignal.abort() }), { name: "AbortError" });
      assert.equal(text.length, 10);
      assert.equal((await text.append([ids[10]])).length, VOCABULARY_SIZE);
      await model.release();

      const { config, rows, network, release } = await latentOf(cases[0]);
      const counts = watched(rows);
      const [cache, signal] = [network.createCache(), AbortSignal.abort()];
      const inputs = inputsOf(config, patches(config, [3]));
      await assert.rejects(network.run(cache, 1, inputs, null, signal), { name: "AbortError" });
      await assert.rejects(network.runTree(cache, [-1], 1, inputs, signal), { name: "AbortError" });
      assert.deepEqual([cache.length, counts], [0, []]);
      await network.run(cache, 1, inputs, null);
      assert.deepEqual([cache.length, counts], [1, [1]]);
      await release();
    });

    for (const each of cases)
      it(`takes adapters and gives what onnxruntime gives with the same ones: ${each.title}`, async () => {
        const checkpoint = await open(each);
        const adapters = [adapterOf(checkpoint, 3, 1), adapterOf(checkpoint, 8, 2), adapterOf(checkpoint, 3, 3), null];
        const model = await Blt.load(checkpoint, {
          ...options,
          nativeKernels: isNative,
          int8Kernel: "rows-narrow",
          adapter: adapters[0],
        });
        const text = model.createSequence();
        await text.append(ids.slice(0, 30));
        for (const [i, adapter] of adapters.entries()) {
          if (i > 0) await model.useAdapter(adapter);
          const compared = await comparedNetworks(model, adapter);
          // What is there already is read anew.
          for (const step of [...new Array(12).fill(1), 2, 3, 5, -7, 1, 4, 2, 1])
            if (step < 0) text.truncate(text.length + step);
            else await text.append(ids.slice(text.length, text.length + step));
          for (const network of [compared.latent, compared.decoder]) {
            assert.ok(network.inKernels.length > 5, network.inKernels.join());
            network.check();
          }
          for (const network of Object.values(compared)) await network.release();
        }
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
