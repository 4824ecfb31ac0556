import assert from "node:assert/strict";
import { join } from "node:path";
import fc from "fast-check";
import { openCheckpoint } from "../../model-runtime/checkpoint/open-checkpoint";
import { encode } from "../../model-runtime/ids";
import { Blt } from "../../model-runtime/model/blt";
import { type KeptSequence, KeptSequences } from "../../server/kept-sequences";

/** A text without a model. */
class PlainText implements KeptSequence {
  ids: number[] = [];
  get length(): number {
    return this.ids.length;
  }
  idAt(position: number): number {
    return this.ids[position];
  }
  truncate(length: number): void {
    assert.ok(length <= this.ids.length);
    this.ids.length = length;
  }
}

/** Ids reused for the last of `texts`, after each was taken and appended. */
function reusedFor(...texts: string[]): number {
  const kept = new KeptSequences(() => new PlainText());
  return texts.map((text) => take(kept, text).reused).at(-1)!;
}

function take(kept: KeptSequences<PlainText>, text: string) {
  const taken = kept.take(encode(Buffer.from(text)));
  taken.sequence.ids.push(...taken.prompt);
  return taken;
}

function check(texts: string[], expected: number): void {
  assert.equal(reusedFor(...texts), expected);
}

describe("kept sequences", () => {
  it("begin anew", () => check(["abc"], 0));
  it("go on where the text went on", () => check(["abc", "abcd"], 4));
  it("are cut back to what is common", () => check(["abcdef", "abcdxy"], 5));
  it("read the last id again when nothing is new", () => check(["abc", "abc"], 3));
  it("are cut back when the text became shorter", () => check(["abcdef", "abc"], 3));
  it("keep two texts apart", () => check(["abcdef", "uvwxyz", "abcdef!", "uvwxyz!"], 7));
  it("give up the one not used for longest", () => check(["aaaaaa", "bbbbbb", "aaaaaa", "cccccc", "bbbbbb"], 1));
  it("hold exactly the text asked for", () => {
    const letters = fc.string({ unit: fc.constantFrom("a", "b"), maxLength: 12 });
    fc.assert(
      fc.property(fc.array(letters, { maxLength: 10 }), (texts) => {
        const kept = new KeptSequences(() => new PlainText());
        for (const text of texts) {
          const { sequence, prompt, reused } = take(kept, text);
          assert.deepEqual(sequence.ids, [...encode(Buffer.from(text))]);
          assert.ok(prompt.length > 0 && prompt.length + reused === sequence.length);
          // A suggestion was written behind it.
          sequence.ids.push(100, 101);
        }
      }),
    );
  });

  it("predict what a text from scratch predicts", async () => {
    const folder = join(__dirname, "../golden/k2");
    const blt = await Blt.load(openCheckpoint(folder), { device: "cpu", threads: 1 });
    try {
      const kept = new KeptSequences(() => blt.createSequence());
      for (const text of ["const a = 1;\n", "const a = 1;\nlet", "const b", "def f():", "const a = 1;\nlet b", "x"]) {
        const ids = encode(Buffer.from(text));
        const { sequence, prompt } = kept.take(ids);
        const logits = await sequence.append(prompt);
        const fresh = await blt.createSequence().append(ids);
        for (const [index, logit] of logits.entries()) assert.ok(Math.abs(logit - fresh[index]) < 1e-4);
      }
    } finally {
      await blt.release();
    }
  });
});
