import assert from "node:assert/strict";
import { collapseOf, variety } from "../../../model-runtime/training/collapse";
import { split } from "../../../model-runtime/training/dataset";
import type { Prediction } from "../../../model-runtime/training/document-scores";
import { judge, lineCompletions, type Scored } from "../../../model-runtime/training/verdict";

function scored(path: string, nats: (i: number) => number, isBest = true): Scored {
  const bytes = Buffer.from("const a = 1;\n".repeat(20));
  const predictions: Prediction[] = [...bytes].map((_, offset) => ({ offset, length: 1, nats: nats(offset), isBest }));
  return { document: { path, bytes, weight: 1 }, predictions };
}

const files = (nats: (i: number) => number) => Array.from({ length: 10 }, (_, i) => scored(`f${i}.ts`, nats));

describe("the verdict", () => {
  const before = files(() => 1);
  const same = { before, after: before };

  it("uses an adapter that is better on every file", () => {
    const { isUsed, interval, heldOut, byLanguage } = judge({ before, after: files(() => 0.9) }, same, null);
    assert.ok(isUsed && interval[1] < -0.1);
    assert.ok(Math.abs(heldOut.bpb.before - 1 / Math.LN2) < 1e-9);
    assert.deepEqual(Object.keys(byLanguage), ["TypeScript"]);
  });

  it("says what became of the lines, above all when fewer are right", () => {
    assert.equal(
      judge({ before, after: files(() => 0.9) }, same, null).reason,
      "Better: 1.443 -> 1.298 bits per byte on held-out files, and 100.0 % of their 200 lines right, 100.0 % before.",
    );
    const after = before.map((_, i) => scored(`f${i}.ts`, () => 0.9, i > 0));
    assert.equal(
      judge({ before, after }, same, null).reason,
      "Better: 1.443 -> 1.298 bits per byte on held-out files, but fewer of their 200 lines are right (100.0 % -> 90.0 %): watch whether suggestions are better.",
    );
  });

  it("discards one that is better by chance", () => {
    const after = before.map((_, i) => scored(`f${i}.ts`, () => (i % 2 === 0 ? 0.5 : 1.45)));
    const { isUsed, reason } = judge({ before, after }, same, null);
    assert.ok(!isUsed);
    assert.match(reason, /not better beyond noise/);
  });

  it("discards one that is better by what rounding gives", () => {
    const { interval, isUsed } = judge({ before, after: files(() => 1 - 2e-6) }, same, null);
    assert.ok(interval[1] < 0 && !isUsed);
  });

  it("discards one that makes general code worse, repeats itself, or is no number", () => {
    const better = { before, after: files(() => 0.9) };
    assert.match(judge(better, { before, after: files(() => 1.02) }, null).reason, /on general code/);
    assert.match(judge(better, same, "it repeats itself.").reason, /^Discarded: it repeats itself/);
    assert.match(judge({ before, after: files(() => Number.NaN) }, same, null).reason, /not numbers/);
  });

  it("counts a line as right when all of its rest is", () => {
    assert.deepEqual(lineCompletions(scored("a.ts", () => 1)), new Array(20).fill(true));
    const one = scored("a.ts", () => 1);
    one.predictions[10].isBest = false;
    one.predictions[13].isBest = false;
    assert.deepEqual(lineCompletions(one).slice(0, 3), [false, true, true]);
  });

  it("tells a text that repeats itself", () => {
    const varied = Buffer.from(
      "const total = items.reduce((sum, item) => sum + item.price, 0);\nreturn total / items.length;\n",
    );
    const repeated = Buffer.from("ab".repeat(60));
    assert.ok(variety(varied) > 0.9 && variety(repeated) < 0.05);
    assert.equal(collapseOf([varied], [varied]), null);
    assert.match(collapseOf([varied], [repeated])!, /repeats itself/);
    assert.equal(collapseOf([repeated], [repeated]), null);
    assert.match(collapseOf([varied], [new Uint8Array(0)])!, /ends every text/);
  });
});

describe("held-out files", () => {
  const texts = Array.from({ length: 40 }, (_, i) => ({
    path: `folder${i % 10}/file${i}.ts`,
    bytes: new Uint8Array(1000 + i),
    modified: 1e12 + i,
  }));

  it("are whole folders, and the same whatever the order", () => {
    const { train, heldOut } = split(texts);
    const folders = new Set(heldOut.map(({ path }) => path.split("/")[0]));
    assert.ok(heldOut.length >= 4 && train.every(({ path }) => !folders.has(path.split("/")[0])));
    const names = (documents: { path: string }[]) => documents.map(({ path }) => path).sort();
    assert.deepEqual(names(split([...texts].reverse()).heldOut), names(heldOut));
  });

  it("of few files are their last lines", () => {
    const bytes = Buffer.from("line\n".repeat(100));
    const { train, heldOut } = split([{ path: "a.ts", bytes, modified: 1 }]);
    assert.deepEqual(Buffer.concat([train[0].bytes, heldOut[0].bytes]), bytes);
    assert.ok(heldOut[0].bytes.length <= 60 && train[0].bytes.at(-1) === 0x0a);
  });

  it("weigh less the older they are", () => {
    const day = 24 * 3600 * 1000;
    const few = [0, 180, 3600].map((age, i) => ({
      path: `${i}.ts`,
      bytes: Buffer.from("line\n".repeat(100)),
      modified: 1e13 - age * day,
    }));
    assert.deepEqual(
      split(few).train.map(({ weight }) => Math.round(100 * weight)),
      [100, 75, 50],
    );
  });
});
