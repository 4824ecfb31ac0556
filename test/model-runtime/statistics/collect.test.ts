import assert from "node:assert/strict";
import { byLanguage, StatisticsCollector, surprisingLines } from "../../../model-runtime/statistics/collect";
import type { Measured } from "../../../model-runtime/statistics/measure";

function measured(bits: number[], entropies: number[], starts: number[]): Measured {
  return {
    bits: Float32Array.from(bits),
    entropies: Float32Array.from(entropies),
    entropyOf: "patcher",
    starts: Uint32Array.from(starts),
    units: "patches",
  };
}

describe("StatisticsCollector", () => {
  it("counts entropies and lengths over all files, and sums by file and language", () => {
    const collector = new StatisticsCollector();
    collector.add("a.ts", Buffer.from("abcd"), measured([1, 2, 3, 4], [0, 0.25, 0.3, 99], [0, 1]));
    collector.add("b.ts", Buffer.alloc(30, "x"), measured(Array(30).fill(0.5), Array(30).fill(1), [0]));
    collector.add("c.py", Buffer.from("z"), measured([8], [5.5], [0]));
    const { files, entropy, lengths } = collector.result();
    assert.deepEqual(files[0], { path: "a.ts", language: "TypeScript", bytes: 4, bits: 10, patches: 2 });
    assert.deepEqual([entropy.width, entropy.of, lengths.units], [0.25, "patcher", "patches"]);
    assert.deepEqual([entropy.counts[0], entropy.counts[1], entropy.counts[4], entropy.counts.at(-1)], [1, 2, 30, 2]);
    assert.deepEqual([lengths.counts[0], lengths.counts[2], lengths.counts.at(-1)], [2, 1, 1]);
    assert.equal(
      entropy.counts.reduce((sum, each) => sum + each),
      35,
    );
    assert.deepEqual(byLanguage(files), [
      { language: "TypeScript", files: 2, bytes: 34, bits: 25, patches: 3 },
      { language: "Python", files: 1, bytes: 1, bits: 8, patches: 1 },
    ]);
  });

  it("keeps the most surprising lines of all files", () => {
    const collector = new StatisticsCollector();
    for (let file = 0; file < 60; file++)
      collector.add(`${file}.ts`, Buffer.from("ab\ncd"), measured([1, 1, 1, 1 + file, 1], Array(5).fill(1), [0]));
    const { lines } = collector.result();
    assert.equal(lines.length, 40);
    assert.deepEqual([lines[0].path, lines[0].line, lines[0].text], ["59.ts", 1, "cd"]);
    assert.ok(lines.every((line, i) => i === 0 || line.excess <= lines[i - 1].excess));
  });
});

describe("surprisingLines", () => {
  it("ranks lines by what they cost above the mean, blank ones left out", () => {
    const bytes = Buffer.from("aa\n\nßb\n  c\n");
    const bits = Float32Array.from([1, 1, 0, 9, 3, 1, 2, 0, 0, 0, 1, 0]);
    assert.deepEqual(surprisingLines("x", bytes, bits, 9), []);
    bits[3] = 0;
    const [first] = surprisingLines("x", bytes, bits, 9);
    assert.deepEqual(
      [first.line, first.text, first.bytes, first.bits, first.levels],
      // ß cost 4 bits (2.77 nats), b 2 bits (1.39 nats).
      [2, "ßb", 4, 6, "53"],
    );
  });

  it("shows bytes that are no UTF-8, and cuts what is too long", () => {
    const [broken] = surprisingLines("x", Uint8Array.of(0xff, 0x61, 10, 0x61), Float32Array.of(9, 1, 1, 0), 1);
    assert.equal(broken.text, "\ufffda");
    const long = Buffer.from(`${"🙂".repeat(300)}\na`);
    const [cut] = surprisingLines(
      "x",
      long,
      new Float32Array(long.length).map((_, i) => (i < 9 ? 9 : 1)),
      1,
    );
    assert.equal(Array.from(cut.text).length, 161);
    assert.equal(cut.levels.length, cut.text.length);
  });
});
