/** A loaded BLT: its four networks compiled for a device, its embeddings, and the texts (`BltSequence`) inside it. */
import type { Checkpoint } from "../checkpoint/checkpoint";
import type { BltConfig, PatchingConfig, TransformerConfig } from "../checkpoint/config";
import { RowReader } from "../checkpoint/row-reader";
import { readWeight } from "../checkpoint/tensor-data";
import { UserError } from "../errors";
import type { Graph } from "../graph/graph";
import { VOCABULARY_SIZE } from "../ids";
import type { RowMemory } from "../kernels/row-kernels";
import { CausalNetwork } from "./causal-network";
import { DeviceLoop } from "./device-loop";
import { type Patcher, patcherOf } from "./entropy-model";
import { HashEmbedding } from "./hash-embedding";
import { exactRowsKernel, fastestInt8Kernel } from "./int8-kernel";
import { loadLatent } from "./latent-network";
import type { Int8Kernel } from "./linear";
import type { LoadOptions } from "./load-options";
import { appliedAdapter, type LowRank } from "./low-rank";
import { decoderGraph, encoderGraph, latentGraph, patcherGraph } from "./networks";
import type { RowNetwork } from "./row-network";
import {
  besideRowMemory,
  decoderRows,
  encoderRows,
  kernelsOf,
  latentRows,
  patcherRows,
  rounding,
} from "./row-networks";
import { BltSequence, type Networks, type SequenceModel } from "./sequence";
import type { TextState } from "./text-state";

export class Blt implements SequenceModel {
  private isAdapted: boolean;

  private constructor(
    readonly checkpoint: Checkpoint,
    readonly networks: Networks,
    /** Byte and hash n-gram embedding of the local encoder. */
    readonly embedding: HashEmbedding,
    private readonly patcherBytes: Float32Array | null,
    private readonly tables: RowReader[],
    /** The kernel in use; null when the checkpoint has no int8 weights. */
    readonly int8Kernel: Int8Kernel | null,
    private readonly deviceLoop: DeviceLoop | null,
    private readonly rowNetworks: RowNetworks,
    private readonly options: LoadOptions,
  ) {
    this.isAdapted = (options.adapter ?? null) !== null;
  }

  get config(): BltConfig {
    return this.checkpoint.config;
  }

  static load(checkpoint: Checkpoint, options: LoadOptions): Promise<Blt> {
    return besideRowMemory(checkpoint, options, (memory) => Blt.loadBeside(memory, checkpoint, options));
  }

  private static async loadBeside(
    memory: RowMemory | null,
    checkpoint: Checkpoint,
    options: LoadOptions,
  ): Promise<Blt> {
    const { config } = checkpoint;
    const quantized = config.quantization !== null;
    // What the native kernels leave to sessions is seldom run, and not worth a timing.
    const choose = memory?.isNative ? exactRowsKernel : fastestInt8Kernel;
    const int8Kernel = quantized ? (options.int8Kernel ?? (await choose(options))) : null;
    const source = { checkpoint, int8Kernel: int8Kernel ?? "float32" };
    const rowSource = { checkpoint, int8Kernel: rounding(source.int8Kernel, memory, options) };
    const rows: RowNetworks = {
      memory,
      patcher: config.patcher && patcherRows(rowSource, memory),
      encoder: encoderRows(rowSource, memory),
      latent: latentRows(rowSource, memory),
      decoder: decoderRows(rowSource, memory),
    };
    const load = (graph: () => Graph, network: TransformerConfig, rowNetwork: RowNetwork | null) =>
      CausalNetwork.load(graph, network, options, rowNetwork);
    const patcherSource = { ...source, joinsPast: rows.patcher !== null };
    const encoderSource = { ...source, joinsPast: rows.encoder !== null };
    const networks: Networks = {
      patcher: config.patcher && (await load(() => patcherGraph(patcherSource), config.patcher, rows.patcher)),
      encoder: await load(() => encoderGraph(encoderSource), config.encoder, rows.encoder),
      ...(await loadAdapted(source, options.adapter ?? null, rows, options)),
    };
    // Threads help where the latent transformer's rows are run here.
    if (rows.latent === null) await memory?.team.release();
    const { patcher } = networks;
    const tables = openHashTables(checkpoint);
    const bytes = readWeight(checkpoint, "model.local_encoder.embed_tokens.weight");
    const patcherBytes = patcher ? readWeight(checkpoint, "model.patcher.embed_tokens.weight") : null;
    const embedding = new HashEmbedding(bytes, tables, config.hash);
    const inLoop = options.deviceLoop ?? options.device !== "cpu";
    const deviceLoop = inLoop ? new DeviceLoop(checkpoint, source.int8Kernel, options) : null;
    return new Blt(checkpoint, networks, embedding, patcherBytes, tables, int8Kernel, deviceLoop, rows, options);
  }

  /**
   * An empty text to generate in: where networks do not run on the CPU, its greedy bytes come from the loop on the device
   * (`device-loop.ts`). Otherwise as `createSequence`.
   */
  createText(patching?: PatchingConfig): TextState {
    const sequence = this.createSequence(patching);
    // The loop's graph knows no adapter.
    return this.deviceLoop === null || this.isAdapted ? sequence : this.deviceLoop.textOf(sequence);
  }

  /**
   * Takes an adapter into use, or null for the base model. Texts stay and are read anew when they are next appended to;
   * none may be asked while this runs.
   */
  async useAdapter(adapter: LowRank | null): Promise<void> {
    const { networks, checkpoint, int8Kernel, options } = this;
    const { latent, decoder } = networks;
    const source = { checkpoint, int8Kernel: int8Kernel ?? ("float32" as const) };
    Object.assign(networks, await loadAdapted(source, adapter, this.rowNetworks, options));
    this.isAdapted = adapter !== null;
    await latent.release();
    await decoder.release();
  }

  /** An empty text; give other patching settings than the checkpoint's to try them. */
  createSequence(patching: PatchingConfig = this.config.patching): BltSequence {
    if (patching.mode === "entropy" && !this.networks.patcher)
      throw new UserError(
        `${this.checkpoint.directory}: the checkpoint holds no entropy model, so entropy patching is not possible; choose another --mode or give the entropy model's folder with --entropy-model.`,
      );
    return new BltSequence(this, patching);
  }

  /** Each text has caches of its own. */
  readonly sharedBytes = 0;

  /** What multiplies the quantised weights of the latent transformer, for people to read; null where there are none. */
  get kernels(): string | null {
    return kernelsOf(this.rowNetworks.latent, this.int8Kernel);
  }

  get patching(): PatchingConfig {
    return this.config.patching;
  }

  get patcher(): Patcher | null {
    const { patcher } = this.networks;
    const separatesDocuments = this.config.semantics === "meta";
    return patcher && patcherOf(patcher, this.patcherBytes!, { separatesDocuments });
  }

  /** Rows of the patcher's embedding table for ids `from` to `to`: [N, hidden]. */
  patcherEmbedding(ids: ArrayLike<number>, from: number, to: number): Float32Array {
    const table = this.patcherBytes!;
    const width = table.length / VOCABULARY_SIZE;
    const rows = new Float32Array((to - from) * width);
    for (let i = from; i < to; i++) rows.set(table.subarray(ids[i] * width, (ids[i] + 1) * width), (i - from) * width);
    return rows;
  }

  async release(): Promise<void> {
    const { patcher, encoder, latent, decoder } = this.networks;
    for (const network of [patcher, encoder, latent, decoder]) await network?.release();
    await this.rowNetworks.memory?.team.release();
    await this.deviceLoop?.release();
    for (const table of this.tables) table.close();
  }
}

/** The networks by the row kernels, and the memory that all of them are in. */
interface RowNetworks {
  memory: RowMemory | null;
  patcher: RowNetwork | null;
  encoder: RowNetwork | null;
  latent: RowNetwork | null;
  decoder: RowNetwork | null;
}

/** The networks that adapters change; those by the row kernels take the adapter once the others are there. */
async function loadAdapted(
  source: { checkpoint: Checkpoint; int8Kernel: Int8Kernel },
  lowRank: LowRank | null,
  rows: Pick<RowNetworks, "latent" | "decoder">,
  options: LoadOptions,
): Promise<Pick<Networks, "latent" | "decoder">> {
  const { checkpoint } = source;
  const { latent, decoder } = checkpoint.config;
  const adapter = lowRank === null ? undefined : appliedAdapter(lowRank, checkpoint);
  const decoderSource = { ...source, adapter, joinsPast: rows.decoder !== null };
  const loaded = {
    latent: await loadLatent(
      { ...source, config: latent, graph: latentGraph, isTurned: false, others: PATCH_TENSORS },
      lowRank,
      rows.latent,
      options,
    ),
    decoder: await CausalNetwork.load(() => decoderGraph(decoderSource), decoder, options, rows.decoder),
  };
  for (const network of [rows.latent, rows.decoder]) network?.useAdapter(lowRank);
  return loaded;
}

/** What the latent's graph reads before and behind the transformer. */
const PATCH_TENSORS = ["model.local_encoder", "model.local_decoder"].flatMap((network) => [
  `${network}.patch_embedding_projection`,
  `${network}.cross_attn_layers`,
]);

/** Tables are held only when all of them together are small; else the rows in use are. */
function openHashTables({ hashTables }: Checkpoint): RowReader[] {
  const total = hashTables.reduce((sum, { length }) => sum + length, 0);
  const options = {
    wholeTableBytes: total <= HELD_TABLES_BYTES ? HELD_TABLES_BYTES : 0,
    cacheBytes: Math.floor(HELD_TABLES_BYTES / hashTables.length),
  };
  return hashTables.map((table) => new RowReader(table, options));
}

/** Memory that hash tables may take. */
const HELD_TABLES_BYTES = 24 * 2 ** 20;
