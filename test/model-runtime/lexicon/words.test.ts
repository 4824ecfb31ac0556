import assert from "node:assert/strict";
import fc from "fast-check";
import { Words } from "../../../model-runtime/lexicon/words";
import { bytesOf, edits, goldenDefault, hardTexts } from "./lexicon-samples";

const space = "\\t-\\r\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
/** The rule of docs/lexicon.md, section 2, as it is written there. */
const rule = new RegExp(
  `'s|'t|'re|'ve|'m|'ll|'d|\\p{N}| ?\\p{L}+| ?[^${space}\\p{L}\\p{N}]+|[${space}]+(?![^${space}\\p{N}])|[${space}]+`,
  "gu",
);

function startsOf(words: Words): number[] {
  return Array.from({ length: words.wordCount }, (_, word) => words.startOf(word));
}

function check(text: string, expected: string[]) {
  const words = new Words(bytesOf(text));
  const found = startsOf(words).map((start, word) =>
    new TextDecoder("utf-8", { ignoreBOM: true }).decode(words.text.subarray(start, words.startOf(word + 1))),
  );
  assert.deepEqual(found, expected);
}

describe("words", () => {
  it("are cut as in the examples of docs/lexicon.md", () => {
    check("a = 'r", ["a", " =", " '", "r"]);
    check("say('r", ["say", "('", "r"]);
    check("{\n    ", ["{", "\n    "]);
    check("{\n    r", ["{", "\n   ", " r"]);
    check("x\n\ny  42", ["x", "\n", "\n", "y", "  ", "4", "2"]);
    check("we're they'll I'd", ["we", "'re", " they", "'ll", " I", "'d"]);
  });

  it("equal the regular expression on any text of valid characters", () => {
    const texts = fc.array(
      fc.oneof(fc.constantFrom(..."'srevltmd  \n\t4½éa(=.\u00a0\u0085\ufeff你\u3000"), fc.string({ unit: "grapheme" })),
    );
    fc.assert(
      fc.property(texts, (parts) => {
        const text = parts.join("");
        check(text, text.match(rule) ?? []);
      }),
      { numRuns: 500 },
    );
  });

  it("give the open word of the golden texts after every length", () => {
    for (const [text, , expected] of goldenDefault().cuts) {
      const words = new Words();
      const open = [words.open];
      for (const byte of text) {
        words.append(byte);
        open.push(words.open);
      }
      // The reference takes ED A0 for the beginning of a character, as Python's decoder does; surrogates are none.
      const surrogate = (length: number) => text[length - 2] === 0xed && text[length - 1] >= 0xa0;
      for (let length = 0; length <= text.length; length++)
        if (!surrogate(length)) assert.equal(open[length], expected[length], `${text.slice(0, length)}`);
    }
  });

  it("after appends and truncations equal those of the text from scratch", () => {
    fc.assert(
      fc.property(edits, (steps) => {
        const words = new Words();
        for (const step of steps) {
          if (typeof step === "number") words.truncate(Math.floor(step * words.length));
          else for (const byte of step) words.append(byte);
          const fresh = new Words(words.text);
          assert.deepEqual(startsOf(words), startsOf(fresh));
          assert.equal(words.completeLength, fresh.completeLength);
          assert.equal(words.open, fresh.open);
        }
      }),
      { numRuns: 1000 },
    );
  });

  it("before the open one stay as they are, whatever follows", () => {
    fc.assert(
      fc.property(hardTexts, hardTexts, (before, after) => {
        const words = new Words(before);
        const settled = startsOf(words).slice(0, words.openIndex);
        const open = words.open;
        for (const byte of after) {
          words.append(byte);
          assert.deepEqual(startsOf(words).slice(0, settled.length), settled);
          assert.ok(words.open >= open);
        }
      }),
      { numRuns: 500 },
    );
  });

  it("of any length cost the same a byte, truncated or not", () => {
    for (const long of ["a", "=", " ", "é"]) {
      const words = new Words(bytesOf(`x;${long.repeat(500_000)}`));
      for (let i = 0; i < 2000; i++) words.truncate(words.length - 1);
      for (const byte of bytesOf(" y")) words.append(byte);
      const fresh = new Words(words.text);
      assert.deepEqual(startsOf(words), startsOf(fresh));
    }
  });

  it("of a copy go their own way", () => {
    const words = new Words(bytesOf("const x"));
    const copy = words.fork();
    words.truncate(3);
    for (const byte of bytesOf("yz ")) copy.append(byte);
    assert.deepEqual(startsOf(copy), [0, 5, 9]);
    assert.deepEqual(startsOf(words), [0]);
  });
});
