/**
 * Greedy decoding on a device whose memory is not ours: n bytes a run of the loop graph, so that the cached past crosses
 * to the device once for n bytes and not at each. The bytes are guesses at what the caller will append; while they are
 * right each costs nothing more, and one that is wrong is taken back. So results are those of the steps one by one,
 * whatever the caller samples, and a stop rule or an abort acts between any two bytes.
 *
 * Shapes: T bytes of a run.
 */
import type { Checkpoint } from "../checkpoint/checkpoint";
import type { PatchingConfig } from "../checkpoint/config";
import { EOS, VOCABULARY_SIZE } from "../ids";
import { createSession, type Feeds, type Session, type SessionOptions } from "../session";
import { deviceLoopGraph, networksOfLoop } from "./device-loop-graph";
import type { Int8Kernel } from "./linear";
import type { BltSequence, LoopRows } from "./sequence";
import type { AppendOptions, TextState } from "./text-state";

/** Bytes of a run: half as many after a wrong guess, twice as many after a run of right ones. */
const MOST_BYTES = 32;
/** Hash tables up to this size are put into the graph. */
const TABLE_BYTES = 2 ** 30;

/** Why a checkpoint cannot be decoded in a loop under a patching rule, in a clause; null when it can. */
export function deviceLoopProblem({ config, hashTables }: Checkpoint, patching: PatchingConfig): string | null {
  if (patching.mode === "bpe") return 'patching mode "bpe" generates its delimiter';
  if (patching.mode === "entropy" && patching.newlineReset) return "a newline begins the entropy model's context anew";
  if (patching.newlineReset) return "a newline starts a patch";
  if (config.crossAttentionWindow.encoder !== 1) return "a patch looks at the bytes of its neighbours";
  const bytes = hashTables.reduce((sum, { length }) => sum + length, 0);
  if (bytes > TABLE_BYTES) return `hash tables of ${(bytes / 2 ** 30).toFixed(1)} GiB stay in their file`;
  return null;
}

/** The loop graph of a model, compiled when a patching rule first asks for it. */
export class DeviceLoop {
  private readonly sessions = new Map<string, Promise<Session>>();

  constructor(
    private readonly checkpoint: Checkpoint,
    private readonly int8Kernel: Int8Kernel,
    private readonly options: SessionOptions,
  ) {}

  /** A text that decodes in the loop; the text itself where the rule or the checkpoint does not allow it. */
  textOf(sequence: BltSequence): TextState {
    return deviceLoopProblem(this.checkpoint, sequence.patching) === null ? new LoopedText(sequence, this) : sequence;
  }

  /**
   * Appends an id and the greedy bytes after it.
   * @returns what was made, ids first; null where the text cannot go on in a loop now, and nothing has happened
   */
  async run(sequence: BltSequence, id: number, turns: number, signal?: AbortSignal): Promise<LoopRows | null> {
    const { config } = this.checkpoint;
    const start = sequence.loopStart(Math.max(1, ...config.hash.groupSizes) - 1, turns);
    if (start === null) return null;
    const networks = networksOfLoop(this.checkpoint, sequence.patching);
    const feeds: Feeds = {
      ...start.feeds,
      turns: { data: BigInt64Array.of(BigInt(turns)), shape: [1] },
      ids: { data: BigInt64Array.from([...start.lastIds, id], BigInt), shape: [start.lastIds.length + 1] },
    };
    const made = await (await this.session(sequence.patching)).run(feeds, signal);
    const ids = Array.from(made["all.ids"], Math.round);
    const cross = made["all.cross"].subarray(start.crossLength);
    const keysAndValues = Object.fromEntries(networks.map(([name]) => [name, made[`${name}.keysAndValues`]]));
    const rows = {
      ids,
      logits: made["all.logits"],
      entropies: made["all.entropies"],
      states: made["all.states"],
      cross,
      keysAndValues,
    };
    sequence.adopt(rows);
    return rows;
  }

  async release(): Promise<void> {
    for (const session of this.sessions.values()) await (await session).release();
  }

  private session(patching: PatchingConfig): Promise<Session> {
    const key = JSON.stringify(patching);
    let session = this.sessions.get(key);
    if (session === undefined) {
      const { checkpoint, int8Kernel } = this;
      session = createSession(deviceLoopGraph({ checkpoint, int8Kernel }, patching), this.options);
      this.sessions.set(key, session);
    }
    return session;
  }
}

/** A text with bytes ahead of it that have been computed and not been asked for. */
class LoopedText implements TextState {
  private ahead: { ids: number[]; logits: Float32Array; taken: number } = nothingAhead();
  private bytes = 4;

  constructor(
    private readonly sequence: BltSequence,
    private readonly loop: DeviceLoop,
  ) {}

  get length(): number {
    return this.sequence.length - this.rest;
  }

  get patchStarts(): readonly number[] {
    const { length } = this;
    return this.sequence.patchStarts.filter((start) => start <= length);
  }

  get byteLength(): number {
    return this.sequence.byteLength;
  }

  idAt(position: number): number {
    return this.sequence.idAt(position);
  }

  async append(ids: ArrayLike<number>, options: AppendOptions = {}): Promise<Float32Array> {
    if (ids.length !== 1 || options.logits === "all") {
      this.takeBack();
      return this.sequence.append(ids, options);
    }
    options.signal?.throwIfAborted();
    const { ahead } = this;
    if (this.rest > 0 && ahead.ids[ahead.taken] === ids[0]) {
      ahead.taken++;
      if (this.rest === 0) this.bytes = Math.min(MOST_BYTES, this.bytes * 2);
      return options.logits === "none" ? new Float32Array(0) : this.logitsAhead();
    }
    if (this.rest > 0) this.bytes = Math.max(1, this.bytes >> 1);
    this.takeBack();
    if (options.logits === "none" || this.bytes === 1 || ids[0] === EOS) {
      // Alone a while, then some bytes are guessed again.
      this.bytes = Math.max(2, this.bytes);
      return this.sequence.append(ids, options);
    }
    const made = await this.loop.run(this.sequence, ids[0], this.bytes, options.signal);
    if (made === null) return this.sequence.append(ids, options);
    this.ahead = { ids: made.ids, logits: made.logits, taken: 1 };
    return this.logitsAhead();
  }

  truncate(length: number): void {
    this.ahead = nothingAhead();
    this.sequence.truncate(length);
  }

  fork(): TextState {
    const copy = this.sequence.fork();
    copy.truncate(this.length);
    return new LoopedText(copy, this.loop);
  }

  /** Bytes that have been computed and not been asked for. */
  private get rest(): number {
    return this.ahead.ids.length - this.ahead.taken;
  }

  private takeBack(): void {
    if (this.rest > 0) this.sequence.truncate(this.length);
    this.ahead = nothingAhead();
  }

  /** Logits after the last id that was asked for. */
  private logitsAhead(): Float32Array {
    const { logits, taken } = this.ahead;
    return logits.slice((taken - 1) * VOCABULARY_SIZE, taken * VOCABULARY_SIZE);
  }
}

function nothingAhead() {
  return { ids: [], logits: new Float32Array(0), taken: 0 };
}
