import assert from "node:assert/strict";
import fc from "fast-check";
import { SuggestionCache } from "../../server/cache";

const uri = "file:///a.ts";

function cacheOf(entries: [before: string, text: string][], capacity?: number): SuggestionCache {
  const cache = new SuggestionCache(capacity);
  for (const [before, text] of entries) cache.put(uri, before, "line", { text, ending: "whole" });
  return cache;
}

function check(entries: [string, string][], before: string, expected: string | null): void {
  assert.equal(cacheOf(entries).get(uri, before, "line")?.text ?? null, expected);
}

describe("suggestion cache", () => {
  it("finds what was written at a place", () => check([["const a", " = 1;"]], "const a", " = 1;"));
  it("finds the rest of what is being typed", () => check([["const a", " = 1;"]], "const a = ", "1;"));
  it("does not find what was not typed so", () => check([["const a", " = 1;"]], "const a: ", null));
  it("finds nothing behind the end", () => check([["a", "b"]], "ab", null));
  it("finds nothing before the place", () => check([["ab", "c"]], "a", null));
  it("finds an empty answer at its own place only", () => {
    check([["a", ""]], "a", "");
    check([["a", ""]], "ab", null);
  });
  it("finds the longest rest", () =>
    check(
      [
        ["a", "bcd"],
        ["ab", "cdef"],
      ],
      "abc",
      "def",
    ));
  it("finds across a typed line end", () => check([["{", "\n  a();\n}"]], "{\n  ", "a();\n}"));
  it("does not look further back than it should", () => {
    const text = "x".repeat(200);
    check([["a", text]], `a${"x".repeat(128)}`, "x".repeat(72));
    check([["a", text]], `a${"x".repeat(129)}`, null);
  });
  it("keeps documents and extents apart", () => {
    const cache = cacheOf([["a", "b"]]);
    assert.equal(cache.get("file:///other.ts", "a", "line"), null);
    assert.equal(cache.get(uri, "a", "block"), null);
  });
  it("looks at the text near the cursor, not at where the window begins", () => {
    const near = "y".repeat(1024);
    check([[`x${near}`, "z"]], near, "z");
    check([[`x${near.slice(1)}`, "z"]], near, null);
  });
  it("replaces an entry", () =>
    check(
      [
        ["a", "b"],
        ["a", "c"],
      ],
      "a",
      "c",
    ));
  it("drops the entry unused for longest", () => {
    const cache = cacheOf(
      [
        ["a", "1"],
        ["b", "2"],
      ],
      2,
    );
    cache.get(uri, "a", "line");
    cache.put(uri, "c", "line", { text: "3", ending: "whole" });
    assert.deepEqual(
      ["a", "b", "c"].map((before) => cache.get(uri, before, "line")?.text),
      ["1", undefined, "3"],
    );
  });
  it("forgets everything", () => {
    const cache = cacheOf([["a", "b"]]);
    cache.clear();
    assert.equal(cache.get(uri, "a", "line"), null);
  });
  it("is bounded, and its answers continue the text they were written for", () => {
    const letters = fc.string({ unit: fc.constantFrom("a", "b"), maxLength: 6 });
    fc.assert(
      fc.property(fc.array(fc.tuple(letters, letters), { maxLength: 30 }), letters, (entries, before) => {
        const cache = cacheOf(entries, 10);
        assert.ok(cache.size <= 10);
        const found = cache.get(uri, before, "line");
        if (found === null) return;
        assert.ok(entries.some(([start, text]) => start + text === before + found.text && before.startsWith(start)));
      }),
    );
  });
});
