import assert from "node:assert/strict";
import fc from "fast-check";
import type { EntropyStream } from "../../../model-runtime/model/entropy-model";
import { EntropyCheckpoints } from "../../../model-runtime/patching/entropy-checkpoints";

/** Bytes that an entropy depends on, and ids that a stream can take back. */
const [FIELD, SLACK] = [6, 5];

/** A stream that remembers what it has read. */
class Recorded implements EntropyStream {
  readonly logits = new Float32Array(0);
  readonly byteLength = 1000;
  constructor(readonly ids: number[] = []) {}
  get length(): number {
    return this.ids.length;
  }
  async next(ids: ArrayLike<number>): Promise<Float32Array> {
    this.ids.push(...Array.from(ids));
    return new Float32Array(ids.length);
  }
  nextLogits = this.next;
  takeBack(count: number): boolean {
    if (count > SLACK || count > this.ids.length) return false;
    this.ids.length -= count;
    return true;
  }
  fork(): Recorded {
    return new Recorded(this.ids.slice());
  }
}

/** A text of ids, each of them another one. */
class Text {
  private count = 0;
  ids: number[] = this.fresh(60);
  readonly checkpoints = new EntropyCheckpoints(FIELD);

  edit(start: number, deleted: number, inserted: number): void {
    const from = Math.min(start, this.ids.length);
    const removed = Math.min(deleted, this.ids.length - from);
    this.ids.splice(from, removed, ...this.fresh(inserted));
    this.checkpoints.edited(from, removed, inserted);
  }

  /** Reads `from` to `to` as a buffer does; what is taken must have read what an entropy at `from` depends on. */
  async read(from: number, to: number): Promise<void> {
    const seen = Math.max(0, from - FIELD);
    const taken = this.checkpoints.take(from, seen);
    const { stream, at, exactFrom } = taken ?? {
      stream: new Recorded(),
      at: seen,
      exactFrom: seen > from - FIELD ? seen : from,
    };
    assert.ok(at >= seen && at <= from && exactFrom <= from, `${at}, exact from ${exactFrom}, for ${from}`);
    const needed = at - seen;
    assert.deepEqual((stream as Recorded).ids.slice(stream.length - needed), this.ids.slice(at - needed, at));
    await stream.next(this.ids.slice(at, to));
    this.checkpoints.keep({ stream, at: to, exactFrom });
  }

  private fresh(count: number): number[] {
    return Array.from({ length: count }, () => this.count++);
  }
}

describe("EntropyCheckpoints", () => {
  it("give streams that have read what an entropy depends on, whatever was edited", async () => {
    const edit = fc.record({ start: fc.nat(70), deleted: fc.nat(9), inserted: fc.nat(9) });
    const read = fc.record({ from: fc.nat(70), count: fc.integer({ min: 1, max: 20 }) });
    await fc.assert(
      fc.asyncProperty(fc.array(fc.oneof(edit, read), { maxLength: 30 }), async (steps) => {
        const text = new Text();
        for (const step of steps) {
          if ("start" in step) text.edit(step.start, step.deleted, step.inserted);
          else if (step.from < text.ids.length)
            await text.read(step.from, Math.min(text.ids.length, step.from + step.count));
        }
      }),
      { numRuns: 2000 },
    );
  });

  it("go on where reading stopped, and take back a little", async () => {
    const text = new Text();
    await text.read(0, 40);
    assert.equal(text.checkpoints.take(40, 34)?.at, 40);
    await text.read(0, 40);
    const back = text.checkpoints.take(37, 31)!;
    assert.deepEqual([back.at, back.stream.length], [37, 37]);
    await text.read(0, 40);
    // Too far, for this stream: there is none then.
    assert.equal(text.checkpoints.take(30, 24), null);
  });

  it("keep what an edit leaves true, and move what lies behind it", async () => {
    const text = new Text();
    await text.read(0, 20);
    await text.read(30, 50);
    text.edit(22, 2, 5);
    assert.equal(text.checkpoints.take(20, 14)?.at, 20);
    // Its entropies are right again a receptive field behind the edit.
    const moved = text.checkpoints.take(53, 47)!;
    assert.deepEqual([moved.at, moved.exactFrom], [53, 33]);
  });

  it("hold a few", async () => {
    const text = new Text();
    for (let at = 0; at < 60; at += 3) text.checkpoints.keep({ stream: new Recorded(), at, exactFrom: at });
    assert.equal(text.checkpoints.byteLength, 8000);
  });
});
