import assert from "node:assert/strict";
import type { TextModel } from "../../../model-runtime/model/text-state";
import { MixedModel } from "../../../model-runtime/ngram/mixed-model";
import { completeLines, countsOf, placesOf, samplePlaces } from "../../../model-runtime/training/line-completions";

const document = (text: string, path = "a.ts") => ({ path, bytes: Buffer.from(text), weight: 1 });
const text = "const total = sum(values);\n".repeat(30);
const hooks = { isLate: () => false, whilePaused: async () => undefined, signal: new AbortController().signal };

describe("completed lines", () => {
  it("begin after a third of what follows the indentation", () => {
    const [first, second] = placesOf(Buffer.from("    const value = 1;\nx\n"));
    assert.deepEqual(first, { cursor: 4 + 6, end: 20 });
    assert.deepEqual(second, { cursor: 21 + 4, end: 22 });
  });

  it("are drawn by fours, with the text before the first of them, and never within a character", () => {
    const documents = [document(text), document("// größer als größte Größe\n".repeat(9), "b.ts")];
    const places = samplePlaces(documents, 1);
    assert.deepEqual(places, samplePlaces(documents, 1));
    assert.notDeepEqual(places, samplePlaces(documents, 2));
    assert.equal(places.length, 39);
    for (const { document: of, cursor, from } of places) {
      assert.ok(from <= cursor && cursor - from <= 1024 + 200);
      assert.doesNotMatch(of.bytes.subarray(cursor).toString(), /^\uFFFD/);
    }
    assert.equal(new Set(places.slice(0, 4).map(({ document: of, from }) => `${of.path} ${from}`)).size, 1);
  });

  it("are right where the text is written as it stands, to the line's end", async () => {
    // Counts alone know what they have seen.
    const counts = countsOf([document(text)]);
    const known: TextModel = new MixedModel({ network: null, workspace: counts });
    const places = samplePlaces([document(text, "b.ts")], 0);
    const { plain, mixed } = await completeLines(known, counts, places.slice(4, 8), hooks);
    assert.deepEqual(
      plain.map(({ isRight }) => isRight),
      [true, true, true, true],
    );
    assert.equal(mixed.length, 4);
    assert.ok(plain.every(({ nats, bytes }) => nats > 0 && nats / bytes < 0.5));
    const other = samplePlaces([document("while (unlike(anything)) go();\n".repeat(4), "c.ts")], 0);
    const { plain: wrong } = await completeLines(known, counts, other.slice(0, 1), hooks);
    assert.deepEqual(wrong[0].isRight, false);
  });

  it("are mixed with counts of no more text than the editor counts", () => {
    const large = "x".repeat(5_000_000);
    assert.deepEqual(countsOf([document(text), document(large, "b.ts"), document(large, "c.ts")]).paths, [
      "a.ts",
      "b.ts",
    ]);
  });

  it("stop when it is late", async () => {
    const counts = countsOf([document(text)]);
    const known: TextModel = new MixedModel({ network: null, workspace: counts });
    const { plain } = await completeLines(known, counts, samplePlaces([document(text)], 0), {
      ...hooks,
      isLate: (done) => done >= 3,
    });
    assert.equal(plain.length, 3);
  });
});
