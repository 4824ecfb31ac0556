import assert from "node:assert/strict";
import fc from "fast-check";
import type { LexiconReader } from "../../../model-runtime/lexicon/reader";
import { bytesOf, edits, HashLatent, hardTexts, hashReader, tinyLexicon } from "./lexicon-samples";

async function fresh(text: Uint8Array, maxPositions?: number): Promise<Float64Array> {
  const reader = hashReader({}, maxPositions);
  reader.append(text);
  return reader.distribution();
}

function checkSame(found: Float64Array, expected: Float64Array) {
  for (let symbol = 0; symbol < 257; symbol++)
    assert.ok(
      Math.abs(found[symbol] - expected[symbol]) < 1e-9,
      `symbol ${symbol}: ${found[symbol]}, ${expected[symbol]}`,
    );
}

describe("LexiconReader", () => {
  it("after appends, truncations and copies equals a fresh one, and sums to 1", async () => {
    await fc.assert(
      fc.asyncProperty(edits, fc.boolean(), async (steps, byteByByte) => {
        let reader = hashReader();
        for (const step of steps) {
          if (typeof step === "number") {
            reader = reader.fork();
            reader.truncate(Math.floor(step * reader.length));
          } else if (byteByByte) {
            for (const byte of step) {
              reader.append([byte]);
              await reader.distribution();
            }
          } else reader.append(step);
          const found = await reader.distribution();
          checkSame(found, await fresh(reader.text));
          assert.ok(Math.abs(found.reduce((sum, each) => sum + each) - 1) < 1e-12);
        }
      }),
      { numRuns: 150 },
    );
  });

  it("reads many bytes together as one by one, also where a word begins before the place at which a long one was opened anew", async () => {
    const added = bytesOf(" return");
    for (let spaces = 28; spaces < 36; spaces++) {
      const text = " ".repeat(spaces);
      const [together, single] = [hashReader(), hashReader()];
      for (const reader of [together, single]) reader.append(bytesOf(text));
      await together.distribution();
      const found = await together.distributions(added);
      for (const [i, byte] of added.entries()) {
        single.append([byte]);
        checkSame(found[i], await single.distribution());
      }
    }
  });

  it("reads a draft up to its first byte that is too unlikely, and stays before that", async () => {
    const lengths = new Set<number>();
    await fc.assert(
      fc.asyncProperty(hardTexts, hardTexts, fc.constantFrom(1, 0.1, 0.001, 0), async (text, draft, least) => {
        const bytes = Uint8Array.from([97, ...draft]);
        const [drafted, whole] = [hashReader(), hashReader()];
        for (const reader of [drafted, whole]) {
          reader.append(text);
          await reader.distribution();
        }
        const found = await drafted.distributionsOfDraft(bytes, least);
        const all = await whole.distributions(bytes);
        const wrong = draft.findIndex((byte, i) => all[i][byte] < least * Math.max(...all[i]));
        assert.equal(found.length, 1 + (wrong < 0 ? draft.length : wrong));
        for (const [i, distribution] of found.entries()) checkSame(distribution, all[i]);
        assert.equal(drafted.length, text.length + found.length);
        checkSame(await drafted.distribution(), all[found.length - 1]);
        lengths.add(found.length);
      }),
      { numRuns: 150 },
    );
    assert.ok(lengths.size > 3, `only ${[...lengths]}`);
  });

  it("lets be foreseen what follows the likeliest pieces of the text, ended or not", async () => {
    const latent = new HashLatent();
    let leads = 0;
    for (const text of ["const value = con(x);\n    return value", "let's == naïve\n\n  café"].map(bytesOf)) {
      const reader = hashReader({}, 512, latent);
      await reader.distribution();
      for (const byte of text) {
        if ((await reader.distributionAlone(byte)) !== null) continue;
        const length = reader.length;
        let parts = 0;
        const found = await reader.foresee(byte, () => parts++ < 3);
        assert.equal(reader.length, length);
        if (found !== null && found.length > 0) {
          const path = latent.foreseenAfter[latent.foreseenAfter.length - 1];
          const pieces = Array.from(path.subarray(1)).flatMap((piece) => Array.from(tinyLexicon.pieces[piece]!));
          const after = pieces.length - length - 1;
          const spelt = Array.from(reader.text.subarray(0, length)).concat(byte, Array.from(found[0].bytes));
          // A byte that no piece has is in no path.
          if (after >= 0) assert.deepEqual(pieces, spelt.slice(0, pieces.length));
          if (after > 0) leads++;
        }
        reader.append([byte]);
        checkSame(await reader.distribution(), await fresh(reader.text));
      }
    }
    assert.ok(leads > 3, `${leads} pieces foreseen while they were being written`);
  });

  it("keeps what a copy does to itself", async () => {
    const reader = hashReader();
    reader.append(bytesOf("const value = con"));
    const before = await reader.distribution();
    const copy = reader.fork();
    copy.append(bytesOf("st "));
    await copy.distribution();
    copy.truncate(3);
    await copy.distribution();
    checkSame(await reader.distribution(), before);
    reader.append(bytesOf("s"));
    checkSame(await reader.distribution(), await fresh(bytesOf("const value = cons")));
  });

  it("reads words longer than the limit, longer than any context, and bytes that no piece has", async () => {
    const texts = [
      "=".repeat(100),
      `x${" ".repeat(90)}return`,
      "\x04".repeat(20),
      `a${"\x04".repeat(9)}b`,
      "é".repeat(40),
    ];
    for (const text of texts) {
      const reader = hashReader({}, 60);
      for (const byte of bytesOf(text)) {
        reader.append([byte]);
        const found = await reader.distribution();
        assert.ok(Math.abs(found.reduce((sum, each) => sum + each) - 1) < 1e-12, text);
        checkSame(found, await fresh(reader.text, 60));
      }
    }
  });

  it("asks after no path longer than allowed, and of a long text seldom after a wholly new one", async () => {
    const reader = hashReader({}, 60);
    const paths: number[][] = [];
    const { latent } = (reader as unknown as { parts: { latent: { ask(path: Int32Array): unknown } } }).parts;
    const ask = latent.ask.bind(latent);
    latent.ask = (path) => {
      paths.push([...path]);
      return ask(path);
    };
    for (const byte of bytesOf("const value = con(x);\n".repeat(20))) {
      reader.append([byte]);
      await reader.distribution();
    }
    assert.ok(paths.every((path) => path.length <= 60 && path[0] === 1));
    const fronts = new Set(paths.filter((path) => path.length > 30).map((path) => path.slice(0, 10).join()));
    assert.ok(fronts.size > 1 && fronts.size < 15, `${fronts.size} different beginnings`);
  });

  it("a text of a million bytes in one word is read at its end", async () => {
    const reader = hashReader({ wordLimit: 32 }, 100);
    reader.append(new Uint8Array(1_000_000).fill(0x3d));
    const found = await reader.distribution();
    assert.ok(Math.abs(found.reduce((sum, each) => sum + each) - 1) < 1e-12);
  });

  it("stops before the latent is asked again, and goes on afterwards as if nothing had been", async () => {
    const reader: LexiconReader = hashReader();
    reader.append(bytesOf("const value = con(x);\n    return val"));
    const aborted = AbortSignal.abort(new Error("enough"));
    await assert.rejects(reader.distribution(aborted), /enough/);
    checkSame(await reader.distribution(), await fresh(reader.text));
  });

  it("later bytes change no earlier distribution", async () => {
    await fc.assert(
      fc.asyncProperty(hardTexts, hardTexts, async (text, other) => {
        const reader = hashReader();
        reader.append(text);
        const before = await reader.distribution();
        reader.append(other);
        await reader.distribution();
        reader.truncate(text.length);
        checkSame(await reader.distribution(), before);
      }),
      { numRuns: 100 },
    );
  });
});
