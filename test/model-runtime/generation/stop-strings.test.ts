import assert from "node:assert/strict";
import fc from "fast-check";
import { UserError } from "../../../model-runtime/errors";
import { createStopMatcher } from "../../../model-runtime/generation/stop-strings";

/** What is shown, byte by byte, up to the first stop string. */
function streamed(text: string, stops: string[]): { shown: string[]; stopped: boolean } {
  const matcher = createStopMatcher(stops.map((stop) => Buffer.from(stop, "latin1")));
  const shown: string[] = [];
  for (let i = 0; i < text.length; i++) {
    const matched = matcher.push(text.charCodeAt(i));
    const end = i + 1 - (matched > 0 ? matched : matcher.heldBytes);
    shown.push(text.slice(0, end));
    if (matched > 0) return { shown, stopped: true };
  }
  return { shown, stopped: false };
}

function check(text: string, stops: string[], expected: string[], stopped: boolean): void {
  assert.deepEqual(streamed(text, stops), { shown: expected, stopped });
}

describe("stop strings", () => {
  it("end the text before them", () => check("ab;c", [";"], ["a", "ab", "ab"], true));
  it("hold back what may begin one", () => check("a\n\nb", ["\n\n"], ["a", "a", "a"], true));
  it("let go what does not", () => check("a\nb", ["\n\n"], ["a", "a", "a\nb"], false));
  it("let go only what cannot begin one any more", () => check("aab", ["aac"], ["", "", "aab"], false));
  it("keep the end that begins one anew", () => check("aaac", ["aac"], ["", "", "a", "a"], true));
  it("inside another one count", () => check("abc", ["abcd", "bc"], ["", "", "a"], true));
  it("which end together stop before the longest", () => check("xabc", ["c", "abc", "bc"], ["x", "x", "x", "x"], true));
  it("of any bytes", () => check("\u00ff\u0000a", ["\u0000a"], ["\u00ff", "\u00ff", "\u00ff"], true));
  it("none: all is shown at once", () => check("ab", [], ["a", "ab"], false));
  it("empty ones are refused", () => assert.throws(() => createStopMatcher([new Uint8Array(0)]), UserError));

  it("equal a search of the whole text at every byte", () => {
    const letters = (minLength: number, maxLength: number) =>
      fc.array(fc.constantFrom("a", "b", "c"), { minLength, maxLength }).map((text) => text.join(""));
    fc.assert(
      fc.property(letters(0, 30), fc.array(letters(1, 5), { maxLength: 4 }), (text, stops) => {
        const matcher = createStopMatcher(stops.map((stop) => Buffer.from(stop)));
        for (let n = 1; n <= text.length; n++) {
          const read = text.slice(0, n);
          const matched = matcher.push(text.charCodeAt(n - 1));
          const longest = Math.max(0, ...stops.filter((stop) => read.endsWith(stop)).map((stop) => stop.length));
          assert.equal(matched, longest);
          const beginnings = stops.flatMap((stop) => Array.from(stop, (_, i) => stop.slice(0, i + 1)));
          const held = Math.max(0, ...beginnings.filter((begin) => read.endsWith(begin)).map((begin) => begin.length));
          assert.equal(matcher.heldBytes, held);
        }
      }),
      { numRuns: 1000 },
    );
  });

  it("are never shown in part", () => {
    const letters = (minLength: number, maxLength: number) =>
      fc.array(fc.constantFrom("a", "b"), { minLength, maxLength }).map((text) => text.join(""));
    fc.assert(
      fc.property(letters(0, 20), fc.array(letters(2, 4), { minLength: 1, maxLength: 3 }), (text, stops) => {
        const { shown, stopped } = streamed(text, stops);
        const final = shown[shown.length - 1] ?? "";
        for (const part of shown) assert.ok(final.startsWith(part));
        assert.equal(
          stopped,
          stops.some((stop) => text.includes(stop)),
        );
      }),
      { numRuns: 1000 },
    );
  });
});
