import assert from "node:assert/strict";
import fc from "fast-check";
import { SortedPieces } from "../../../model-runtime/lexicon/sorted-pieces";
import { bytesOf } from "./lexicon-samples";

describe("SortedPieces", () => {
  it("gives of every prefix the piece that equals it and the mass of each next byte", () => {
    const strings = fc
      .array(fc.constantFrom("a", "b", "ÿ"), { minLength: 1, maxLength: 4 })
      .map((parts) => parts.join(""));
    const vocabularies = fc.uniqueArray(strings, { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(vocabularies, strings, (vocabulary, prefix) => {
        const latin = (text: string) => Uint8Array.from(text, (character) => character.charCodeAt(0));
        const table = new SortedPieces([null, ...vocabulary.map(latin)]);
        const mass = Float64Array.from(table.order, (piece) => 1 / (1 + piece));
        let range = table.all();
        for (let length = 0; length <= prefix.length; length++) {
          const start = prefix.slice(0, length);
          const expected = new Float64Array(256);
          for (const [i, text] of vocabulary.entries())
            if (text.startsWith(start) && text.length > length) expected[text.charCodeAt(length)] += 3 / (2 + i);
          const found = new Float64Array(256);
          table.addNextBytes(range, mass, 3, found);
          for (let byte = 0; byte < 256; byte++) assert.ok(Math.abs(found[byte] - expected[byte]) < 1e-12);
          assert.deepEqual(
            [...table.nextBytes(range)],
            [...expected.keys()].filter((byte) => expected[byte] > 0),
          );
          const equal = table.equal(range);
          assert.equal(
            equal < 0 ? undefined : vocabulary[table.order[equal] - 1],
            vocabulary.find((text) => text === start),
          );
          assert.equal(
            table.goesOn(range),
            expected.some((value) => value > 0),
          );
          if (length < prefix.length) range = table.narrow(range, prefix.charCodeAt(length));
        }
      }),
    );
  });

  it("gives of many pieces with the same first byte what it gives of few, of any masses", () => {
    const pieces = Array.from({ length: 900 }, (_, i) =>
      bytesOf(` ${i % 26 === 0 ? "" : String.fromCharCode(97 + (i % 26))}${i}`),
    );
    const table = new SortedPieces([...pieces, bytesOf(" "), bytesOf("b")]);
    const range = table.narrow(table.all(), 0x20);
    for (const shift of [0, 1]) {
      const mass = Float32Array.from(table.order, (piece) => 1 / (1 + ((piece * 7 + shift) % 101)));
      for (let again = 0; again < 2; again++) {
        const found = new Float64Array(256);
        table.addNextBytes(range, mass, 2, found);
        const expected = new Float64Array(256);
        let heaviest = -1;
        for (let place = 0; place < table.order.length; place++) {
          const piece = pieces[table.order[place]];
          if (piece === undefined) continue;
          expected[piece[1]] += 2 * mass[place];
          if (heaviest < 0 || mass[place] > mass[heaviest]) heaviest = place;
        }
        for (let byte = 0; byte < 256; byte++) assert.ok(Math.abs(found[byte] - expected[byte]) < 1e-9, `${byte}`);
        assert.equal(table.heaviest(range, mass), heaviest);
      }
    }
  });

  it("knows the place of each piece, and none of one without bytes", () => {
    const table = new SortedPieces([null, bytesOf("b"), bytesOf("ab"), bytesOf("a")]);
    assert.deepEqual([...table.order], [3, 2, 1]);
    assert.deepEqual([...table.place], [-1, 2, 1, 0]);
    assert.equal(table.longest, 2);
  });
});
