import assert from "node:assert/strict";
import { join } from "node:path";
import fc from "fast-check";
import { openCheckpoint } from "../../model-runtime/checkpoint/open-checkpoint";
import { openLexiconCheckpoint } from "../../model-runtime/checkpoint/open-lexicon";
import { encode } from "../../model-runtime/ids";
import { Blt } from "../../model-runtime/model/blt";
import { LexiconModel } from "../../model-runtime/model/lexicon-model";
import { loadModel, openModel } from "../../model-runtime/model/load-model";
import type { TextModel } from "../../model-runtime/model/text-state";
import { type KeptSequence, KeptSequences } from "../../server/kept-sequences";
import { EditedText, operation } from "../helpers/edit-scripts";
import { loadGolden } from "../helpers/golden";

/** A text without a model. */
class PlainText implements KeptSequence {
  ids: number[] = [];
  get length(): number {
    return this.ids.length;
  }
  idAt(position: number): number {
    return this.ids[position];
  }
  get byteLength(): number {
    return 1000 + this.ids.length;
  }
  truncate(length: number): void {
    assert.ok(length <= this.ids.length);
    this.ids.length = length;
  }
  fork(): PlainText {
    const copy = new PlainText();
    copy.ids = this.ids.slice();
    return copy;
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
  it("give up the one not used for longest when there are too many", () => {
    const many = Array.from({ length: 12 }, (_, i) => String.fromCharCode(97 + i).repeat(6));
    check([...many, many[0]], 6);
    check([...many, "zzzzzz", many[0]], 0);
    check([...many, many[0], "zzzzzz", many[0]], 6);
  });
  it("take no more bytes than they may, but for the one in use", () => {
    const kept = new KeptSequences(() => new PlainText(), 2500);
    for (const text of ["aaaa", "bbbb", "cccc", "dddd"]) {
      take(kept, text);
      assert.ok(kept.byteLength <= 2500 && kept.count <= 2);
    }
    assert.equal(take(kept, "dddd!").reused, 5);
    take(kept, "e".repeat(5000));
    assert.equal(take(kept, "e".repeat(5001)).reused, 5001);
    assert.equal(kept.count, 1);
  });
  it("keep what lies behind an edit far up, for when it is undone", () => {
    const [front, back] = ["f".repeat(100), "b".repeat(300)];
    check([front + back, `${front}x${back}`, front + back], 400);
    // Moving the cursor up and back, and undoing and doing again.
    check([front + back, front, front + back], 400);
    check([front + back, `${front}x`, `${front}xy`, front + back, `${front}xyz`], 103);
  });
  it("keep all that lies before an edit near the beginning", () => {
    const [front, back] = ["f".repeat(300), "b".repeat(3000)];
    check([front + back, `${front}x${back}`], 301);
    check([front + back, `${front}x${back}`, `${front}y${back}`, front + back], 3300);
    check([`${front}${back}`, `${front.slice(0, 100)}x${back}`], 0);
  });
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

describe("kept texts under edit scripts predict what fresh ones predict, and read no more than what is new", () => {
  const runs = Number(process.env.BLT_EDIT_SCRIPTS ?? 6);
  const sources = ["const value = con(x);\nreturn value;\n", "let naïve = [1, 2];\r\nfor (const x of naïve) f(x)\n"];

  /** Scripts over two documents, with a cursor anywhere in them, as a request sees them. */
  async function checkScripts(model: TextModel, repeats: number) {
    const cursor = fc.oneof(fc.constantFrom(0.5, 1), fc.double({ min: 0, max: 1, noNaN: true }));
    const script = fc.array(fc.tuple(fc.nat({ max: 1 }), operation, cursor), { minLength: 1, maxLength: 10 });
    await fc.assert(
      fc.asyncProperty(script, async (steps) => {
        const documents = sources.map((source) => new EditedText(new TextEncoder().encode(source.repeat(repeats))));
        const kept = new KeptSequences(() => model.createSequence(), 4 * 2 ** 20);
        let last: Uint16Array = new Uint16Array(0);
        for (const [index, operation, share] of steps) {
          const document = documents[index];
          document.apply(operation);
          const ids = encode(document.bytes.subarray(0, Math.round(share * document.bytes.length)));
          const { sequence, prompt, reused } = kept.take(ids);
          const logits = await sequence.append(prompt);
          let common = 0;
          while (common < Math.min(last.length, ids.length) && last[common] === ids[common]) common++;
          if (common >= ids.length / 2) assert.ok(reused >= Math.min(common, ids.length - 1));
          last = ids;
          const fresh = await model.createSequence().append(ids);
          for (const [id, logit] of logits.entries())
            assert.ok(logit === fresh[id] || Math.abs(logit - fresh[id]) < 1e-4, `id ${id}: ${logit}, ${fresh[id]}`);
        }
      }),
      { numRuns: runs },
    );
    await model.release();
  }

  it("of a random BLT with short windows", async () => {
    await checkScripts(await loadGolden("k2", { patcher_window: 6, local_window: 9 }), 3);
  }).timeout(600_000);

  it("of a random BLT without windows", async () => {
    await checkScripts(await loadGolden("k4", { semantics: "hf" }), 3);
  }).timeout(600_000);

  it("of a trained BLT", async () => {
    const folder = join(__dirname, "../../models/tiny");
    await checkScripts(await loadModel(openModel(folder), { device: "cpu", threads: 1, int8Kernel: "float32" }), 8);
  }).timeout(600_000);

  it("of a model with a lexicon, whose paths are few", async () => {
    const checkpoint = openLexiconCheckpoint(join(__dirname, "../golden/lexicon/plain"));
    await checkScripts(await LexiconModel.load(checkpoint, { device: "cpu", threads: 1, int8Kernel: "float32" }), 6);
  }).timeout(600_000);
});
