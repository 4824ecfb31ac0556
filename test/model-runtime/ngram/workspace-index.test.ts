import assert from "node:assert/strict";
import fc from "fast-check";
import { Candidates, SYMBOLS } from "../../../model-runtime/ngram/chains";
import { MEMORY_PER_BYTE, WorkspaceIndex } from "../../../model-runtime/ngram/workspace-index";
import { bytesOf, historyOf, placesFound, placesIn } from "./samples";

describe("WorkspaceIndex", () => {
  const found = (index: WorkspaceIndex, query: Uint8Array) => {
    const { bytes, end } = historyOf(query);
    return placesFound((into) => index.collect(bytes, end, into));
  };

  it("finds every place with at least five bytes of common context, and no other", () => {
    const index = new WorkspaceIndex();
    const texts = ["let total = sum(items);", "let totals = sum(all);", "x"].map(bytesOf);
    for (const [i, text] of texts.entries()) index.set(`${i}.ts`, text);
    for (const query of ["let total", "  let total", "tota", "sum(", "= sum(", "", "x", "unknown words"].map(bytesOf)) {
      assert.deepEqual(found(index, query), placesIn(texts, query, 5), Buffer.from(query).toString());
    }
  });

  it("has after any changes the places, the counts and the texts of what is there now", () => {
    // Few symbols and words, so that contexts come back often, and short texts, so that no limit is met.
    const piece = fc.constantFrom("ab", "abc", "abcab", "b", "\n", "", "cabcabcabc", "é");
    const text = fc.array(piece, { maxLength: 4 }).map((pieces) => bytesOf(pieces.join("")));
    const name = fc.constantFrom("a", "b", "c");
    const action = fc.oneof(
      fc.record({ kind: fc.constant("set" as const), name, text }),
      fc.record({ kind: fc.constant("remove" as const), name }),
      fc.record({ kind: fc.constant("edit" as const), name, text, at: fc.nat(), size: fc.nat({ max: 6 }) }),
    );
    fc.assert(
      fc.property(fc.array(action, { maxLength: 12 }), text, (actions, query) => {
        const index = new WorkspaceIndex();
        const texts = new Map<string, Uint8Array>();
        for (const step of actions) {
          const old = texts.get(step.name);
          if (step.kind === "set") {
            index.set(step.name, step.text);
            texts.set(step.name, step.text);
          } else if (step.kind === "remove") {
            index.remove(step.name);
            texts.delete(step.name);
          } else if (old !== undefined) {
            const start = step.at % (old.length + 1);
            const deleted = Math.min(step.size, old.length - start);
            index.edit(step.name, { start, deleted, inserted: step.text });
            texts.set(step.name, Buffer.concat([old.subarray(0, start), step.text, old.subarray(start + deleted)]));
          }
        }
        const now = [...texts.values()];
        const expected = placesIn(now, query, 5);
        if (expected.length <= 128) assert.deepEqual(found(index, query), expected);
        for (const [path, bytes] of texts) assert.deepEqual([...index.read(path)!], [...bytes]);
        assert.equal(
          index.length,
          now.reduce((sum, { length }) => sum + length, 0),
        );
        const fresh = new WorkspaceIndex();
        for (const [path, bytes] of texts) fresh.set(path, bytes);
        for (const last of [0, ..."abc\n"].map((c) => (typeof c === "number" ? c : c.charCodeAt(0)))) {
          assert.deepEqual([...index.pairCounts(last)], [...fresh.pairCounts(last)]);
        }
      }),
      { numRuns: 300 },
    );
  });

  it("can do without some of its texts for a while, and then has them again", () => {
    const piece = fc.constantFrom("ab", "abc", "abcab", "b", "\n", "cabcabcabc");
    const text = fc.array(piece, { maxLength: 20 }).map((pieces) => bytesOf(pieces.join("")));
    const texts = fc.array(fc.record({ text, isHidden: fc.boolean(), at: fc.nat() }), { maxLength: 4 });
    fc.assert(
      fc.property(texts, text, (all, query) => {
        const index = new WorkspaceIndex();
        const part = new WorkspaceIndex();
        for (const [i, { text, isHidden, at }] of all.entries()) {
          index.set(`${i}`, text);
          // In pieces, and with places that are dead for good.
          index.edit(`${i}`, { start: at % (text.length + 1), deleted: 0, inserted: bytesOf("xabcx") });
          if (!isHidden) part.set(`${i}`, index.read(`${i}`)!);
        }
        const before = found(index, query);
        const hidden = all.flatMap(({ isHidden }, i) => (isHidden ? [`${i}`] : []));
        const seen = index.without([...hidden, "unknown"], () => ({
          places: found(index, query),
          pairs: [...index.pairCounts(97)],
        }));
        if (before.length <= 512) assert.deepEqual(seen.places, found(part, query));
        assert.deepEqual(seen.pairs, [...part.pairCounts(97)]);
        assert.deepEqual(found(index, query), before);
        assert.throws(() => index.without(hidden, () => assert.fail("ended early")), /ended early/);
        assert.deepEqual(found(index, query), before);
      }),
      { numRuns: 200 },
    );
  });

  it("is the same after it was packed, many times", () => {
    const index = new WorkspaceIndex();
    const words = Array.from({ length: 2000 }, (_, i) => `word${i % 37} = ${i};\n`).join("");
    index.set("a", bytesOf(words));
    index.set("b", bytesOf("short text here"));
    for (let i = 0; i < 4000; i++) index.edit("b", { start: 6 + (i % 3), deleted: i % 2, inserted: bytesOf("x") });
    for (let i = 0; i < 40; i++) index.set("a", bytesOf(words.slice(i * 100)));
    const texts = [index.read("a")!, index.read("b")!];
    assert.equal(Buffer.from(texts[0]).toString(), words.slice(3900));
    const query = bytesOf("short t");
    assert.deepEqual(found(index, query), placesIn(texts, query, 5));
    index.packWhenWorthwhile();
    assert.deepEqual(found(index, query), placesIn(texts, query, 5));
    assert.deepEqual([...index.read("b")!], [...texts[1]]);
  });

  it("counts the latest places where there are too many", () => {
    const index = new WorkspaceIndex();
    for (let i = 0; i < 800; i++) index.set(`${i}`, bytesOf(`return ${String.fromCharCode(65 + Math.floor(i / 200))}`));
    const { bytes, end } = historyOf("  return ");
    const candidates = new Candidates(600);
    index.collect(bytes, end, candidates);
    assert.equal(candidates.count, 512);
    const latest = [...Array(112).fill(66), ...Array(200).fill(67), ...Array(200).fill(68)];
    assert.deepEqual([...candidates.symbols.subarray(0, 512)].sort(), latest);
  });

  it("finds a long context however often its last bytes came since", () => {
    const index = new WorkspaceIndex();
    index.set("a", bytesOf("const answer = compute(first);"));
    index.set("b", bytesOf("(first,".repeat(500)));
    const { bytes, end } = historyOf("const answer = compute(first");
    const candidates = new Candidates(600);
    index.collect(bytes, end, candidates);
    assert.equal(candidates.lengths[0], 32);
    assert.equal(candidates.symbols[0], ")".charCodeAt(0));
  });

  it("knows where a place lies, through edits", () => {
    const index = new WorkspaceIndex();
    index.set("src/a.ts", bytesOf("export function first() {}\nexport function second() {}\n"));
    index.set("src/b.ts", bytesOf("nothing"));
    index.edit("src/a.ts", { start: 0, deleted: 0, inserted: bytesOf("// head\n") });
    const { bytes, end } = historyOf("export function sec");
    const candidates = new Candidates(600);
    index.collect(bytes, end, candidates);
    const best = candidates.lengths.indexOf(Math.max(...candidates.lengths));
    assert.deepEqual(index.placeOf(candidates.addresses[best]), { path: "src/a.ts", offset: 54 });
    index.remove("src/a.ts");
    assert.equal(index.placeOf(candidates.addresses[best]), null);
  });

  it("takes at most the memory stated for a byte of text", () => {
    const size = 2_000_000;
    const index = new WorkspaceIndex(size + 33);
    index.set("a", new Uint8Array(size).fill(97));
    const fixed = 256 * SYMBOLS * 4;
    assert.ok(index.memoryBytes - fixed <= MEMORY_PER_BYTE * size, `${(index.memoryBytes - fixed) / size} bytes`);
  });

  it("takes ten megabytes of one byte, as fast as any text", () => {
    // Quadratic work would take hours here.
    const index = new WorkspaceIndex(10_000_033);
    index.set("same", new Uint8Array(10_000_000).fill(97));
    const { bytes, end } = historyOf("a".repeat(100));
    const candidates = new Candidates(600);
    for (let i = 0; i < 1000; i++) {
      candidates.count = 0;
      index.collect(bytes, end, candidates);
      index.edit("same", { start: 5000 * i, deleted: 1, inserted: bytesOf("b") });
    }
    assert.ok(candidates.count >= 512);
    assert.ok(candidates.lengths.subarray(0, 512).every((length) => length > 4));
  });

  it("has room up to the most addresses that there can be, and names them", () => {
    const index = new WorkspaceIndex(16_700_000);
    index.set("a", new Uint8Array(16_600_000));
    assert.equal(index.length, 16_600_000);
    assert.throws(() => index.set("b", new Uint8Array(400_000)), /no room for 17000067 addresses, only for 16777216/);
    assert.equal(index.has("b"), false);
  });

  it("names a document that is not there, and an edit outside of one", () => {
    const index = new WorkspaceIndex();
    index.set("a", bytesOf("text"));
    assert.throws(() => index.edit("b", { start: 0, deleted: 0, inserted: bytesOf("x") }), /b is not in the index/);
    assert.throws(() => index.edit("a", { start: 2, deleted: 3, inserted: bytesOf("x") }), /a has 4 bytes, no 2 to 5/);
    index.remove("b");
    assert.equal(index.read("b"), null);
  });
});
