/**
 * A text model mixed with the counts of a workspace: a `TextModel` like any other, so that generation, evaluation and server
 * use it unchanged. Without a network it is the counts alone.
 *
 * The weights of the mixture are either fixed, and then every distribution is a function of the text, the workspace and the
 * weights; or learned anew in each text, byte by byte in its order, from the same beginning. A truncated text forgets what it
 * learned from the bytes taken back, so learned weights, too, are a function of the text alone.
 */
import type { PatchingConfig } from "../checkpoint/config";
import { BYTE_OFFSET, EOS, VOCABULARY_SIZE } from "../ids";
import type { AppendOptions, TextModel, TextState } from "../model/text-state";
import { END_SYMBOL, SYMBOLS } from "./chains";
import { History } from "./history";
import { type LearningRates, Mixture, stepped } from "./mixture";
import { defaultMixtureWeights } from "./mixture-weights";
import type { WorkspaceIndex } from "./workspace-index";

export interface MixedOptions {
  /** Null counts alone. */
  network: TextModel | null;
  /** Null is an empty one: then only the text itself is counted. */
  workspace: WorkspaceIndex | null;
  /** How fast each text improves the weights for itself, which needs the network's distribution of every byte; null not. */
  learning?: LearningRates | null;
  /** Weights to begin with, [MIXTURE_WEIGHTS]; default those that come with the program. */
  weights?: Float32Array;
}

/** Of the network's likeliest byte's chance: a byte of a draft that has less is not read on. */
const LEAST_SHARE = 0.01;

/** Counts have no patches. */
export const EVERY_BYTE: PatchingConfig = {
  mode: "byte",
  threshold: 0,
  thresholdAdd: null,
  monotonic: false,
  newlineReset: false,
  patchSize: 1,
  maxPatchLength: null,
  minPatchLength: 1,
};

export class MixedModel implements TextModel {
  constructor(private readonly options: MixedOptions) {}

  get patcher(): TextModel["patcher"] {
    return this.options.network?.patcher ?? null;
  }

  get patching(): PatchingConfig {
    return this.options.network?.patching ?? EVERY_BYTE;
  }

  get sharedBytes(): number {
    return this.options.network?.sharedBytes ?? 0;
  }

  createSequence(patching?: PatchingConfig): MixedSequence {
    const { network } = this.options;
    return new MixedSequence(
      this.options,
      network?.createText?.(patching) ?? network?.createSequence(patching) ?? null,
    );
  }

  async release(): Promise<void> {
    await this.options.network?.release();
  }
}

/** Old values of the weights that one byte changed. */
interface Change {
  indices: number[];
  values: number[];
}

export class MixedSequence implements TextState {
  private readonly history: History;
  private readonly mixture: Mixture;
  private readonly weights: Float32Array;
  private readonly rates: LearningRates | null;
  /** What each position's id changed; only while learning. */
  private changes: Change[] = [];
  /** Whether `mixture` has predicted what follows the text as it is. */
  private isPredicted = false;

  /** Use `MixedModel.createSequence`. */
  constructor(
    private readonly options: MixedOptions,
    private readonly network: TextState | null,
    from: { history: History; weights: Float32Array; changes: readonly Change[] } | null = null,
  ) {
    const initial = options.weights ?? defaultMixtureWeights();
    this.rates = options.learning ?? null;
    this.history = from?.history ?? new History();
    this.weights = from?.weights ?? (this.rates === null ? initial : initial.slice());
    this.changes = from?.changes.slice() ?? [];
    this.mixture = new Mixture(options.workspace);
  }

  get length(): number {
    return this.history.length;
  }

  /** The weights as this text has made them, [MIXTURE_WEIGHTS]; read only. */
  get mixtureWeights(): Float32Array {
    return this.weights;
  }

  get patchStarts(): readonly number[] {
    return this.network?.patchStarts ?? Array.from({ length: this.length + 1 }, (_, position) => position);
  }

  get byteLength(): number {
    return (
      (this.network?.byteLength ?? 0) + this.history.byteLength + (this.rates === null ? 0 : this.weights.byteLength)
    );
  }

  idAt(position: number): number {
    return this.history.idAt(position);
  }

  /** Logits are log-probabilities in nats; ids that are neither bytes nor EOS are impossible. */
  async append(ids: ArrayLike<number>, { logits = "last", signal }: AppendOptions = {}): Promise<Float32Array> {
    if (ids.length === 0) return new Float32Array(0);
    const before = this.length;
    try {
      return this.rates === null
        ? await this.extend(ids, logits, signal)
        : await this.learnFrom(ids, this.rates, logits, signal);
    } catch (error) {
      // What the network has read before it was stopped stays read.
      if (this.rates === null) this.follow(ids, before);
      else this.truncate(before);
      throw error;
    }
  }

  get draftCosts(): TextState["draftCosts"] {
    return this.rates === null ? this.network?.draftCosts : undefined;
  }

  async appendAlone(id: number, signal?: AbortSignal): Promise<Float32Array | null> {
    const rows = this.rates === null ? await this.network?.appendAlone?.(id, signal) : null;
    if (!rows) return null;
    const out = new Float32Array(VOCABULARY_SIZE);
    this.history.push(id);
    this.predict(rows, 0);
    this.write(out, 0);
    return out;
  }

  async foresee(...[id, goOn, signal]: Parameters<NonNullable<TextState["foresee"]>>) {
    return this.rates === null ? ((await this.network?.foresee?.(id, goOn, signal)) ?? null) : null;
  }

  /** What the network thinks very unlikely ends the draft: the mixture hardly chooses that either. */
  async appendDraft(ids: ArrayLike<number>, signal?: AbortSignal): Promise<Float32Array> {
    const { network } = this;
    if (this.rates !== null || !network?.appendDraft) return this.append(ids, { logits: "all", signal });
    const rows = await network.appendDraft(ids, signal, LEAST_SHARE);
    const out = new Float32Array(rows.length);
    for (let row = 0; row < rows.length / VOCABULARY_SIZE; row++) {
      this.history.push(ids[row]);
      this.predict(rows, row);
      this.write(out, row);
    }
    return out;
  }

  truncate(length: number): void {
    if (!(length >= 0 && length <= this.length)) throw new RangeError(`text has ${this.length} ids, not ${length}`);
    // The network may have read further than the text that is counted, when a run was ended early.
    this.network?.truncate(Math.min(length, this.network.length));
    if (length === this.length) return;
    this.history.truncate(length);
    this.isPredicted = false;
    while (this.changes.length > length) {
      const { indices, values } = this.changes.pop()!;
      for (let i = indices.length - 1; i >= 0; i--) this.weights[indices[i]] = values[i];
    }
  }

  fork(): MixedSequence {
    const { history, weights, changes } = this;
    const from = { history: history.fork(), weights: this.rates === null ? weights : weights.slice(), changes };
    return new MixedSequence(this.options, this.network?.fork() ?? null, from);
  }

  /** Brings the counted text to where the network's ends, among `ids` behind `before`. */
  private follow(ids: ArrayLike<number>, before: number): void {
    const length = Math.max(before, Math.min(before + ids.length, this.network?.length ?? before));
    if (length <= this.length) this.truncate(length);
    while (this.length < length) this.history.push(ids[this.length - before]);
    this.isPredicted = false;
  }

  private async extend(ids: ArrayLike<number>, logits: AppendOptions["logits"], signal?: AbortSignal) {
    const rows = (await this.network?.append(ids, { logits, signal })) ?? null;
    signal?.throwIfAborted();
    const out = new Float32Array(logits === "none" ? 0 : (logits === "all" ? ids.length : 1) * VOCABULARY_SIZE);
    for (let i = 0; i < ids.length; i++) {
      this.history.push(ids[i]);
      if (logits === "all" || (logits === "last" && i === ids.length - 1)) {
        const row = logits === "all" ? i : 0;
        this.predict(rows, row);
        this.write(out, row);
      }
    }
    return out;
  }

  private async learnFrom(
    ids: ArrayLike<number>,
    rates: LearningRates,
    logits: AppendOptions["logits"],
    signal?: AbortSignal,
  ) {
    // What the text now ends with has to be predicted from, also when it was predicted for another end.
    const again = this.isPredicted || this.length === 0 ? 0 : 1;
    const all = Array.from(ids);
    if (again === 1) all.unshift(this.idAt(this.length - 1));
    if (again === 1) this.network?.truncate(this.length - 1);
    const rows = (await this.network?.append(all, { logits: "all", signal })) ?? null;
    signal?.throwIfAborted();
    const out = new Float32Array(logits === "none" ? 0 : (logits === "all" ? ids.length : 1) * VOCABULARY_SIZE);
    if (again === 1) this.predict(rows, 0);
    for (let i = 0; i < ids.length; i++) {
      this.changes.push(this.learn(ids[i], rates));
      this.history.push(ids[i]);
      this.predict(rows, i + again);
      if (logits === "all") this.write(out, i);
      else if (logits === "last" && i === ids.length - 1) this.write(out, 0);
    }
    return out;
  }

  private learn(id: number, rates: LearningRates): Change {
    const change: Change = { indices: [], values: [] };
    const symbol = symbolOf(id);
    if (this.length === 0 || symbol === null) return change;
    const { weights } = this;
    this.mixture.learn(symbol, (index, slope) => {
      change.indices.push(index);
      change.values.push(weights[index]);
      weights[index] = stepped(index, weights[index], slope, rates);
    });
    return change;
  }

  private predict(rows: Float32Array | null, row: number): void {
    const network = rows === null ? null : symbolLogits(rows, row * VOCABULARY_SIZE);
    this.mixture.predict(this.history, network, this.weights);
    this.isPredicted = true;
  }

  private write(out: Float32Array, row: number): void {
    const { logProbs } = this.mixture;
    const at = row * VOCABULARY_SIZE;
    out.fill(Number.NEGATIVE_INFINITY, at, at + BYTE_OFFSET);
    for (let byte = 0; byte < END_SYMBOL; byte++) out[at + byte + BYTE_OFFSET] = logProbs[byte];
    out[at + EOS] = logProbs[END_SYMBOL];
  }
}

function symbolOf(id: number): number | null {
  return id >= BYTE_OFFSET ? id - BYTE_OFFSET : id === EOS ? END_SYMBOL : null;
}

/** A row of a network's logits, [VOCABULARY_SIZE], as those of bytes and the end, [SYMBOLS]. */
export function symbolLogits(rows: Float32Array, at: number): Float64Array {
  const logits = new Float64Array(SYMBOLS);
  for (let byte = 0; byte < END_SYMBOL; byte++) logits[byte] = rows[at + byte + BYTE_OFFSET];
  logits[END_SYMBOL] = rows[at + EOS];
  return logits;
}
