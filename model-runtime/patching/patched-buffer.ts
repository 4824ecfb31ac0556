/**
 * A document's entropies and patch starts, kept true while it is edited. An edit is taken at once; `step` then runs the
 * patcher from the edit on until its receptive field has passed, from where the old values are right again, and cuts
 * anew from there to the next place where the rule's state is the old one.
 *
 * Shapes: n bytes, R the patcher's receptive field. Positions are byte offsets; byte i of the text is id i + 1, as BOS is
 * id 0. Row i is what is known once byte i is: the entropy of byte i + 1, and whether that one starts a patch.
 */
import type { PatchingConfig } from "../checkpoint/config";
import type { Edit } from "../edit";
import { UserError } from "../errors";
import { BOS, BYTE_OFFSET } from "../ids";
import type { Patcher } from "../model/entropy-model";
import { EntropyCheckpoints } from "./entropy-checkpoints";
import { GapBuffer } from "./gap-buffer";
import { createPatchRule, type PatchRule, resetsContext, ruleStateAfter, usesEntropy } from "./patcher-rule";
import { Spans } from "./spans";

/** Bytes `from` to `to`. */
export interface Span {
  from: number;
  to: number;
}

/** Bytes whose entropies are computed in one run. */
const CHUNK = 128;
/** Rows cut in one step: about a millisecond. */
const CUT_ROWS = 16_384;
/** Places of edits that are remembered, as more edits are likely there. */
const MOST_MARKS = 4;

export class PatchedBuffer {
  private readonly rows: GapBuffer;
  private readonly rule: PatchRule;
  /** Rows without their true entropy. */
  private readonly unread: Spans;
  /** Rows from which the cut has to be made anew; it is the old one again beyond them where the states agree. */
  private uncut: Span | null = null;
  private readonly checkpoints: EntropyCheckpoints;
  /** Where edits ended. */
  private marks: number[] = [];
  private bosEntropy = Number.NaN;
  /** What is being run; an edit before its end makes it stale. */
  private running: { end: number; stale: boolean } | null = null;
  /** The last step; the next one waits for it. */
  private last: Promise<unknown> = Promise.resolve();
  /** Bytes run through the patcher, those before an edit that only fill its caches included; and rows cut. */
  readonly counters = { bytesRun: 0, rowsCut: 0 };

  /**
   * @param patcher null is allowed in modes that use no entropy; else a `UserError`
   * @param onChange called with the bytes whose values a step has changed, whoever asked for the step
   */
  constructor(
    bytes: Uint8Array,
    readonly patching: PatchingConfig,
    private readonly patcher: Omit<Patcher, "release"> | null,
    private readonly onChange: (changed: Span) => void = () => undefined,
  ) {
    this.rule = createPatchRule(patching);
    if (usesEntropy(patching) && patcher === null)
      throw new UserError(
        'The model has no entropy model, so there are no entropies to show and no patches to cut by them; choose patching mode "space", "static" or "byte", or another model.',
      );
    this.rows = new GapBuffer(bytes);
    this.unread = new Spans();
    if (this.reads) this.unread.add(0, bytes.length);
    else this.uncut = { from: 0, to: bytes.length };
    this.checkpoints = new EntropyCheckpoints(this.receptiveField);
  }

  /** n */
  get length(): number {
    return this.rows.length;
  }

  /** Bytes of memory held. */
  get byteLength(): number {
    return this.rows.byteLength + this.checkpoints.byteLength;
  }

  /** Most bytes whose values can change behind an edit, and that must be read before it where nothing is cached. */
  get receptiveField(): number {
    return this.reads ? this.patcher!.receptiveField : 0;
  }

  bytes(from = 0, to = this.length): Uint8Array {
    return this.rows.slice(from, to);
  }

  /** Entropy in nats of the distribution that each of bytes `from` to `to` (at most n + 1) was drawn from; NaN where unknown. */
  entropies(from = 0, to = this.length): Float32Array {
    const entropies = new Float32Array(Math.max(0, to - from));
    for (let i = from; i < to; i++) entropies[i - from] = i === 0 ? this.bosEntropy : this.rows.entropyAt(i - 1);
    return entropies;
  }

  /** Whether byte `at` starts a patch; `at` may be n, the byte that is to come. */
  startsPatch(at: number): boolean {
    return at === 0 || this.rows.isFollowedByStart(at - 1);
  }

  /** Patch starts from `from` on and before `to` (at most n + 1). */
  patchStarts(from = 0, to = this.length): number[] {
    const starts: number[] = [];
    for (let at = from; at < to; at++) if (this.startsPatch(at)) starts.push(at);
    return starts;
  }

  /** Whether all values of bytes `from` to `to` are true. */
  isSettled(from = 0, to = this.length + 1): boolean {
    const isCut = this.uncut === null || this.uncut.from >= to - 1;
    return isCut && !this.unread.overlaps(from - 1, to - 1) && !(from <= 0 && this.lacksFirst);
  }

  /**
   * Takes an edit. What was known moves with its bytes and stays readable.
   * @returns the bytes whose values are unknown or may change
   */
  edit(edit: Edit): Span {
    const { start, deleted } = edit;
    const inserted = edit.inserted.length;
    this.rows.splice(edit);
    const end = start + inserted;
    this.unread.splice(start, deleted, inserted);
    this.checkpoints.edited(start, deleted, inserted);
    const move = (at: number) => (at <= start ? at : Math.max(end, at + inserted - deleted));
    this.marks = [...this.marks.map(move).filter((mark) => mark !== end), end].slice(-MOST_MARKS);
    if (this.uncut !== null) this.uncut = { from: move(this.uncut.from), to: move(this.uncut.to) };
    if (this.running !== null && start < this.running.end) this.running.stale = true;
    const changedTo = this.reads ? this.lastSeer(end) : end;
    if (this.reads) this.unread.add(start, changedTo);
    if (changedTo === start || !this.reads) this.cutLater(start, end);
    return { from: start, to: Math.min(this.length + 1, changedTo + 1) };
  }

  /**
   * One run of the patcher, or one stretch of the cut: first where it touches the bytes `first`, then the shortest unread
   * stretch, which is an edit's. Edits may come while it runs.
   * @returns the bytes whose values have changed, empty if an edit made the run useless; null when there is nothing to do
   */
  step(options: { first?: Span; signal?: AbortSignal } = {}): Promise<Span | null> {
    const result = this.last.then(async () => {
      const changed = await this.run(options);
      if (changed !== null && changed.to > changed.from) this.onChange(changed);
      return changed;
    });
    this.last = result.catch(() => undefined);
    return result;
  }

  /** Steps until all is true, or all of `only`. */
  async settle({ only, signal }: { only?: Span; signal?: AbortSignal } = {}): Promise<void> {
    while (!this.isSettled(only?.from, only?.to)) if ((await this.step({ first: only, signal })) === null) return;
  }

  private get reads(): boolean {
    return usesEntropy(this.patching);
  }

  private get lacksFirst(): boolean {
    return this.reads && Number.isNaN(this.bosEntropy);
  }

  /** End of the rows that see something of the bytes before `end`. */
  private lastSeer(end: number): number {
    const last = Math.min(this.length, end + this.receptiveField);
    if (this.patching.newlineReset)
      for (let at = end; at < last; at++) if (resetsContext(this.patching, this.idOf(at))) return at + 1;
    return last;
  }

  /** First byte that row `at` can see; -1 is BOS. */
  private firstSeen(at: number): number {
    const first = Math.max(-1, at - this.receptiveField);
    if (this.patching.newlineReset)
      for (let i = at - 1; i >= first && i >= 0; i--) if (resetsContext(this.patching, this.idOf(i))) return i + 1;
    return first;
  }

  private async run({ first, signal }: { first?: Span; signal?: AbortSignal }): Promise<Span | null> {
    // Row i holds the values of byte i + 1.
    const wanted = first === undefined ? null : { from: first.from - 1, to: first.to - 1 };
    if (this.uncut !== null && this.canCut(this.uncut.from)) {
      const { from, to } = this.uncut;
      this.uncut = null;
      return this.cut(from, to);
    }
    const next = this.unread.choose(wanted);
    if (next === null) return this.lacksFirst ? this.read(0, 0, signal) : null;
    // A run ends where an edit did, so that the next edit there begins with what this run has read.
    const marks = this.marks.filter((at) => at > next.from);
    return this.read(next.from, Math.min(next.to, next.from + CHUNK, ...marks), signal);
  }

  /** Computes the entropies of rows `from` to `end`, and cuts them. */
  private async read(from: number, end: number, signal?: AbortSignal): Promise<Span> {
    const seen = this.firstSeen(from);
    const { stream, at, exactFrom } = this.checkpoints.take(from, seen) ?? {
      stream: this.patcher!.begin(this.patching),
      at: seen,
      exactFrom: seen > from - this.receptiveField ? Math.max(0, seen) : from,
    };
    if (at === from && this.marks.includes(at)) this.checkpoints.keep({ stream: stream.fork(), at, exactFrom });
    const ids = Array.from({ length: end - at }, (_, i) => this.idOf(at + i));
    this.running = { end, stale: false };
    const { running } = this;
    let entropies: Float32Array;
    try {
      entropies = await stream.next(ids, signal);
    } finally {
      this.running = null;
    }
    this.counters.bytesRun += ids.length - (at < 0 ? 1 : 0);
    if (running.stale) return { from, to: from };
    if (at < 0) this.bosEntropy = entropies[0];
    for (let row = from; row < end; row++) this.rows.setEntropy(row, entropies[row - at]);
    this.unread.remove(from, end);
    this.checkpoints.keep({ stream, at: end, exactFrom });
    const changed = this.cut(from, end);
    return { from: at < 0 ? 0 : changed.from, to: changed.to };
  }

  private canCut(row: number): boolean {
    return row >= this.length || !this.reads || !Number.isNaN(this.rows.entropyAt(row));
  }

  private cutLater(from: number, to: number): void {
    this.uncut =
      this.uncut === null ? { from, to } : { from: Math.min(from, this.uncut.from), to: Math.max(to, this.uncut.to) };
  }

  /**
   * Cuts anew from row `from` on, at least to `to`, then until the state of the rule is the old one: behind a start that
   * was one before, or where lengths do not matter. What has no entropy yet is cut when it has.
   */
  private cut(from: number, to: number): Span {
    const { rows, rule, patching } = this;
    const { mode, minPatchLength, maxPatchLength } = patching;
    // Where the multiples lie can be told from starts only if all of them are multiples.
    const hasOtherStarts = patching.newlineReset || minPatchLength > 1 || maxPatchLength !== null;
    // The rules of the text's first ids are others than those behind them.
    const least = Math.max(to, 3);
    const end = Math.min(rows.length, from + CUT_ROWS);
    rule.restore(this.stateBefore(from));
    let row = from;
    /** Rows behind `least` since a start, in the old cut and in the new one. */
    let quiet = 0;
    let isOldAgain = false;
    while (row < end && !isOldAgain && this.canCut(row)) {
      const was = rows.isFollowedByStart(row);
      const starts = rule.step(this.idOf(row), rows.entropyAt(row));
      rows.setFollowedByStart(row, starts);
      if (row >= least) {
        quiet = was || starts ? 0 : quiet + 1;
        const agrees = was && starts;
        if (mode === "static") isOldAgain = agrees && !hasOtherStarts;
        else isOldAgain = agrees || (maxPatchLength === null && (minPatchLength === 1 || quiet >= minPatchLength));
      }
      row++;
    }
    this.counters.rowsCut += row - from;
    if (!isOldAgain && row < rows.length && this.canCut(row)) this.cutLater(row, Math.max(row, to));
    return { from, to: Math.min(rows.length + 1, row + 1) };
  }

  /** State of the rule before row `row`, from the rows before it. */
  private stateBefore(row: number) {
    const { minPatchLength, maxPatchLength } = this.patching;
    const longest = Math.max(minPatchLength, maxPatchLength ?? 0);
    let openLength = 0;
    while (openLength < Math.min(row, longest) && !this.startsPatch(row - openLength)) openLength++;
    const entropy = row === 0 ? this.bosEntropy : this.rows.entropyAt(row - 1);
    return ruleStateAfter(this.patching, this.idOf(row - 1), { position: row + 1, openLength, entropy });
  }

  private idOf(at: number): number {
    return at < 0 ? BOS : this.rows.byteAt(at) + BYTE_OFFSET;
  }
}
