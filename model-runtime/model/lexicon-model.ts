/** A loaded latent transformer over pieces, and the texts (`LexiconSequence`) inside it. */
import type { PatchingConfig, TransformerConfig } from "../checkpoint/config";
import type { LexiconConfig } from "../checkpoint/lexicon-config";
import {
  type LexiconCheckpoint,
  pieceEmbeddingName,
  readoutMatrixName,
  readVocabulary,
} from "../checkpoint/open-lexicon";
import { RowReader } from "../checkpoint/row-reader";
import { readWeight, scaleName } from "../checkpoint/tensor-data";
import type { RowMemory } from "../kernels/row-kernels";
import { type ByteModel, countingModel, withCounts } from "../lexicon/byte-model";
import type { LexiconRule } from "../lexicon/open-word";
import { Lexicon } from "../lexicon/pieces";
import { LexiconReader } from "../lexicon/reader";
import { SortedPieces } from "../lexicon/sorted-pieces";
import { CausalNetwork } from "./causal-network";
import { draftLayerGraph } from "./draft-layer";
import { type Patcher, patcherOf } from "./entropy-model";
import { draftedPieces, Foresight } from "./foresight";
import { exactRowsKernel } from "./int8-kernel";
import { loadLatent } from "./latent-network";
import { LexiconSequence } from "./lexicon-sequence";
import type { Int8Kernel } from "./linear";
import type { LoadOptions } from "./load-options";
import type { LowRank } from "./low-rank";
import { patcherGraph } from "./networks";
import { patcherByteModel } from "./patcher-byte-model";
import { type PieceNetworks, pieceLatentGraph } from "./piece-latent";
import { PiecePaths } from "./piece-paths";
import { loadReadout } from "./readout";
import type { RowNetwork } from "./row-network";
import { besideRowMemory, drafterRows, kernelsOf, patcherRows, pieceRows, rounding } from "./row-networks";

interface Source {
  checkpoint: LexiconCheckpoint;
  int8Kernel: Int8Kernel;
}

export class LexiconModel {
  private constructor(
    readonly checkpoint: LexiconCheckpoint,
    readonly lexicon: Lexicon,
    readonly table: SortedPieces,
    private readonly networks: PieceNetworks,
    private readonly options: LoadOptions,
    /** The entropy model; released with the model. */
    readonly patcher: Patcher | null,
    private readonly byteNetwork: CausalNetwork | null,
    private readonly byteModel: () => ByteModel,
    /** How weights of 4 or 8 bits are multiplied. */
    readonly int8Kernel: Int8Kernel,
    /** The memory that the networks by the row kernels are in, and the layers among them, which take adapters as they come. */
    private readonly rowNetworks: { memory: RowMemory | null; layers: RowNetwork | null },
  ) {}

  /** What is cached of all texts: those with the same beginning share it. */
  private paths: PiecePaths | null = null;

  get config(): LexiconConfig {
    return this.checkpoint.config;
  }

  /** What multiplies the quantised weights of the latent transformer, for people to read; null where there are none. */
  get kernels(): string | null {
    return kernelsOf(this.rowNetworks.layers, this.int8Kernel);
  }

  get sharedBytes(): number {
    return this.paths?.byteLength ?? 0;
  }

  get patching(): PatchingConfig {
    return this.config.patching;
  }

  static load(checkpoint: LexiconCheckpoint, options: LoadOptions): Promise<LexiconModel> {
    return besideRowMemory(checkpoint, options, (memory) => LexiconModel.loadBeside(memory, checkpoint, options));
  }

  private static async loadBeside(
    memory: RowMemory | null,
    checkpoint: LexiconCheckpoint,
    options: LoadOptions,
  ): Promise<LexiconModel> {
    const lexicon = new Lexicon(readVocabulary(checkpoint));
    const table = new SortedPieces(lexicon.pieces);
    // Activations have outliers here: 8 bits for a whole matrix of them cost 0.03 bits a byte, in blocks 0.002.
    const int8Kernel = options.int8Kernel ?? (options.device === "cpu" ? "blocked" : "float32");
    const source = { checkpoint, int8Kernel };
    const scales = checkpoint.tensors.get(scaleName(pieceEmbeddingName)) ?? null;
    const embedding = new RowReader(
      { ...checkpoint.tensors.get(pieceEmbeddingName)!, scales },
      { wholeTableBytes: 0, cacheBytes: 2 ** 20 },
    );
    const rows = { memory, layers: pieceRows(source, memory) };
    const networks = {
      layers: await loadLayers(source, options.adapter ?? null, rows.layers, options),
      readout: await loadReadout(source, table.order, memory, options),
      embedding,
      foresight: await loadForesight(source, embedding, memory, options),
    };
    rows.layers?.useAdapter(options.adapter ?? null);
    if (rows.layers === null) await memory?.team.release();
    const { patcher: patcherConfig } = checkpoint.config;
    const network = patcherConfig && (await loadByteNetwork(source, patcherConfig, memory, options));
    const bytes = network && readWeight(checkpoint, "model.patcher.embed_tokens.weight");
    const byteModel = network && bytes ? () => withCounts(patcherByteModel(network, bytes)) : countingModel;
    return new LexiconModel(
      checkpoint,
      lexicon,
      table,
      networks,
      options,
      patcherConfig && bytes && exactPatcher(checkpoint, patcherConfig, bytes, options),
      network,
      byteModel,
      int8Kernel,
      rows,
    );
  }

  /**
   * Takes an adapter into use, or null for the base model. Texts stay and are read anew when they are next asked; none may
   * be asked while this runs.
   */
  async useAdapter(adapter: LowRank | null): Promise<void> {
    const { networks, checkpoint, int8Kernel, options } = this;
    const before = networks.layers;
    networks.layers = await loadLayers({ checkpoint, int8Kernel }, adapter, this.rowNetworks.layers, options);
    this.rowNetworks.layers?.useAdapter(adapter);
    await before.release();
  }

  /** An empty text. */
  createSequence(): LexiconSequence {
    this.paths ??= new PiecePaths(this.networks);
    return new LexiconSequence(this.createReader(this.byteModel(), this.config.rule, this.paths).reader);
  }

  /** An empty text below ids: its reader, and what is cached of the latent's paths for it and its copies. */
  createReader(
    byteModel: ByteModel = this.byteModel(),
    rule: LexiconRule = this.config.rule,
    path = new PiecePaths(this.networks),
  ): { reader: LexiconReader; path: PiecePaths } {
    const { lexicon, table, config } = this;
    const { bosPiece, maxPositions } = config;
    return {
      reader: new LexiconReader({ lexicon, table, rule, latent: path, bosPiece, maxPositions }, byteModel),
      path,
    };
  }

  async release(): Promise<void> {
    await this.networks.layers.release();
    await this.networks.readout.release();
    await this.networks.foresight?.release();
    await this.patcher?.release();
    await this.byteNetwork?.release();
    await this.rowNetworks.memory?.team.release();
    this.networks.embedding.close();
  }
}

/**
 * The entropy model for what is looked at, compiled when it is first asked. Its products are exact: activations of 8 bits
 * would move an entropy by some hundredths with the rows that it is computed among, and boundaries with it.
 */
function exactPatcher(
  checkpoint: LexiconCheckpoint,
  config: TransformerConfig,
  table: Float32Array,
  options: LoadOptions,
): Patcher {
  const graph = () => patcherGraph({ checkpoint, int8Kernel: "float32" });
  return patcherOf(CausalNetwork.compiledLater(graph, config, options), table, { separatesDocuments: true });
}

/** The entropy model as the reader's byte model, which is asked after each byte: with the kernel that single rows are fastest with. */
async function loadByteNetwork(
  { checkpoint, int8Kernel }: Source,
  config: TransformerConfig,
  memory: RowMemory | null,
  options: LoadOptions,
): Promise<CausalNetwork> {
  const source = { checkpoint, int8Kernel: await rowsUnlessFloat(int8Kernel, options) };
  const rows = patcherRows({ checkpoint, int8Kernel: rounding(source.int8Kernel, memory, options) }, memory);
  return CausalNetwork.load(() => patcherGraph({ ...source, joinsPast: rows !== null }), config, options, rows);
}

async function loadForesight(
  source: Source,
  embedding: RowReader,
  memory: RowMemory | null,
  options: LoadOptions,
): Promise<Foresight | null> {
  const { drafter } = source.checkpoint.config;
  if (drafter === null) return null;
  const pieces = draftedPieces(source.checkpoint);
  // Drafts are verified, so that here the fastest kernel is the right one.
  const int8Kernel = await rowsUnlessFloat(source.int8Kernel, options);
  const rows = drafterRows(
    { ...source, int8Kernel: rounding(int8Kernel, memory, options) },
    Array.from(pieces),
    source.int8Kernel === "blocked" ? memory : null,
  );
  const graph = () => draftLayerGraph({ ...source, int8Kernel }, pieces);
  const network = await CausalNetwork.load(graph, drafter, options, rows);
  return new Foresight(network, pieces, embedding, drafter.innerLayers.length);
}

/** The rows kernel that is exact here, unless weights are multiplied in float32. */
async function rowsUnlessFloat(int8Kernel: Int8Kernel, options: LoadOptions): Promise<Int8Kernel> {
  return int8Kernel === "float32" ? "float32" : exactRowsKernel(options);
}

function loadLayers(
  { checkpoint, int8Kernel }: Source,
  lowRank: LowRank | null,
  rows: RowNetwork | null,
  options: LoadOptions,
): Promise<CausalNetwork> {
  const { latent: config, readoutMatrix: isTurned } = checkpoint.config;
  const others = ["model.lexicon.norm", readoutMatrixName];
  return loadLatent(
    { checkpoint, config, int8Kernel, graph: pieceLatentGraph, isTurned, others },
    lowRank,
    rows,
    options,
  );
}
