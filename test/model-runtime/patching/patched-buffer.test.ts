import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import type { PatchingConfig } from "../../../model-runtime/checkpoint/config";
import { openCheckpoint } from "../../../model-runtime/checkpoint/open-checkpoint";
import { UserError } from "../../../model-runtime/errors";
import { encode } from "../../../model-runtime/ids";
import { entropiesOf, loadPatcher, type Patcher } from "../../../model-runtime/model/entropy-model";
import { patchStarts } from "../../../model-runtime/patching/patch-lengths";
import { PatchedBuffer } from "../../../model-runtime/patching/patched-buffer";
import { EditedText, operation } from "../../helpers/edit-scripts";
import { goldenCheckpoint } from "../../helpers/golden";
import { patching } from "./patching-samples";

const options = { device: "cpu", threads: 1 } as const;
/** How many scripts of each kind are tried: more when the variable says so. */
const RUNS = Number(process.env.BLT_EDIT_SCRIPTS ?? 12);
const sample = readFileSync(join(__dirname, "../../../model-runtime/model/kv-cache.ts"));

/** Entropies as in a run from scratch, starts as the rule gives them for these entropies. */
async function checkTrue(buffer: PatchedBuffer, bytes: Uint8Array, patcher: Patcher | null): Promise<void> {
  assert.deepEqual(buffer.bytes(), Uint8Array.from(bytes));
  const found = buffer.entropies(0, buffer.length + 1);
  const ids = encode(bytes);
  if (patcher !== null) {
    const expected = await entropiesOf(patcher, ids, { patching: buffer.patching });
    for (let i = 0; i < expected.length; i++)
      assert.ok(Math.abs(found[i] - expected[i]) < 1e-4, `entropy of byte ${i}: ${found[i]}, fresh ${expected[i]}`);
  }
  const { starts, nextStarts } = patchStarts(ids, patcher === null ? null : found, buffer.patching);
  // Position 0 is BOS.
  const expected = starts.filter((start) => start > 0).map((start) => start - 1);
  if (nextStarts) expected.push(bytes.length);
  assert.deepEqual(buffer.patchStarts(0, buffer.length + 1), expected);
}

const entropyRules: [string, Partial<PatchingConfig>][] = [
  ["a threshold", {}],
  ["at most 5 bytes", { maxPatchLength: 5 }],
  ["at least 3 bytes", { minPatchLength: 3 }],
  ["2 to 4 bytes", { minPatchLength: 2, maxPatchLength: 4 }],
  ["a rise", { monotonic: true, threshold: 0.1 }],
  ["a threshold and a rise", { thresholdAdd: 0.1 }],
  ["newline reset", { newlineReset: true, maxPatchLength: 9 }],
  ["a rise and newline reset", { monotonic: true, threshold: 0.1, newlineReset: true }],
  ["a threshold and a rise, 2 to 6 bytes", { thresholdAdd: 0.1, minPatchLength: 2, maxPatchLength: 6 }],
];
const plainRules: [string, Partial<PatchingConfig>][] = [
  ["space", { mode: "space" }],
  ["space, at most 3 bytes", { mode: "space", maxPatchLength: 3 }],
  ["static", { mode: "static", patchSize: 4 }],
  ["static, at most 3 bytes", { mode: "static", patchSize: 5, maxPatchLength: 3 }],
  ["static with newlines", { mode: "static", patchSize: 6, newlineReset: true, minPatchLength: 2 }],
  ["byte", { mode: "byte" }],
  ["byte, at least 3 bytes", { mode: "byte", minPatchLength: 3 }],
  ["bpe, at most 7 bytes", { mode: "bpe", maxPatchLength: 7 }],
];

describe("PatchedBuffer equals a fresh run after any edits", () => {
  async function checkScripts(rule: PatchingConfig, patcher: Patcher | null, size: number, runs: number) {
    await fc.assert(
      fc.asyncProperty(
        fc.nat({ max: size }),
        fc.array(fc.tuple(operation, fc.constantFrom("settle", "step", "race", "wait")), {
          minLength: 1,
          maxLength: 12,
        }),
        async (length, script) => {
          const document = new EditedText(Uint8Array.from(sample.subarray(0, length)));
          const buffer = new PatchedBuffer(document.bytes, rule, patcher);
          const R = buffer.receptiveField;
          await buffer.settle();
          for (const [operation, then] of script) {
            // An edit may come while a run is under way.
            const racing = then === "race" ? buffer.step() : null;
            const wasSettled = buffer.isSettled();
            const before = buffer.counters.bytesRun;
            const edits = document.apply(operation);
            for (const edit of edits) buffer.edit(edit);
            await racing;
            if (then === "step") await buffer.step({ first: { from: 0, to: 50 } });
            if (then !== "settle") continue;
            await buffer.settle();
            await checkTrue(buffer, document.bytes, patcher);
            const bound = edits.reduce((sum, { inserted }) => sum + inserted.length + 2 * R, 0);
            if (wasSettled) assert.ok(buffer.counters.bytesRun - before <= bound);
          }
          await buffer.settle();
          await checkTrue(buffer, document.bytes, patcher);
        },
      ),
      { numRuns: runs },
    );
  }

  for (const [title, settings] of entropyRules)
    it(`of a random model, ${title}`, async () => {
      const checkpoint = goldenCheckpoint("k2", { patcher_window: 5 });
      const patcher = await loadPatcher(checkpoint, options);
      assert.equal(patcher.receptiveField, 8);
      await checkScripts({ ...checkpoint.config.patching, ...settings }, patcher, 400, RUNS);
      await patcher.release();
    }).timeout(600_000);

  it("of a random model without a window", async () => {
    const checkpoint = goldenCheckpoint("k2", { semantics: "hf" });
    checkpoint.config.patcher!.window = null;
    const patcher = await loadPatcher(checkpoint, options);
    await checkScripts({ ...checkpoint.config.patching, newlineReset: true }, patcher, 200, RUNS);
    await checkScripts(checkpoint.config.patching, patcher, 200, RUNS);
    await patcher.release();
  }).timeout(600_000);

  it("of a trained model", async () => {
    const checkpoint = openCheckpoint(join(__dirname, "../../../models/tiny"));
    const patcher = await loadPatcher(checkpoint, { ...options, int8Kernel: "float32" });
    await checkScripts(checkpoint.config.patching, patcher, 2000, RUNS);
    await patcher.release();
  }).timeout(600_000);

  for (const [title, settings] of plainRules)
    it(`without a model, ${title}`, () => checkScripts(patching(settings), null, 3000, 3 * RUNS)).timeout(600_000);
});

describe("PatchedBuffer of a trained model", () => {
  let patcher: Patcher;
  const checkpoint = openCheckpoint(join(__dirname, "../../../models/tiny"));
  const rule = checkpoint.config.patching;
  before(async () => {
    patcher = await loadPatcher(checkpoint, { ...options, int8Kernel: "float32" });
  });
  after(() => patcher.release());
  const typed = (start: number, text: string) => ({ start, deleted: 0, inserted: new TextEncoder().encode(text) });

  async function bytesRun(buffer: PatchedBuffer, change: () => void): Promise<number> {
    const before = buffer.counters.bytesRun;
    change();
    await buffer.settle();
    return buffer.counters.bytesRun - before;
  }

  it("runs exactly the new bytes when they are typed at the end, also after taking some back", async () => {
    const buffer = new PatchedBuffer(sample, rule, patcher);
    await buffer.settle();
    for (const text of ["a", "bc", "\n"])
      assert.equal(await bytesRun(buffer, () => buffer.edit(typed(buffer.length, text))), text.length);
    assert.equal(
      await bytesRun(buffer, () => buffer.edit({ start: buffer.length - 5, deleted: 5, inserted: new Uint8Array() })),
      0,
    );
    assert.equal(await bytesRun(buffer, () => buffer.edit(typed(buffer.length, "x"))), 1);
    // What is to come behind the text changes too.
    const { length } = buffer;
    assert.deepEqual(buffer.edit(typed(length, "yz")), { from: length, to: length + 3 });
  });

  it("runs the edit and one receptive field when typing goes on in the middle, two at a new place", async () => {
    const buffer = new PatchedBuffer(sample, rule, patcher);
    await buffer.settle();
    const R = patcher.receptiveField;
    assert.equal(R, 126);
    assert.equal(await bytesRun(buffer, () => buffer.edit(typed(3000, "a"))), 1 + 2 * R);
    assert.equal(await bytesRun(buffer, () => buffer.edit(typed(3001, "b"))), 1 + R);
    assert.equal(await bytesRun(buffer, () => buffer.edit(typed(3002, "cd"))), 2 + R);
    // Backspace.
    assert.equal(await bytesRun(buffer, () => buffer.edit({ start: 3003, deleted: 1, inserted: new Uint8Array() })), R);
  });

  it("reads what is visible first", async () => {
    const buffer = new PatchedBuffer(sample, rule, patcher);
    const visible = { from: 4000, to: 4300 };
    await buffer.settle({ only: visible });
    assert.ok(buffer.isSettled(4000, 4300) && !buffer.isSettled());
    assert.ok(buffer.counters.bytesRun <= 300 + patcher.receptiveField);
    assert.ok(buffer.entropies(4000, 4300).every(Number.isFinite));
    assert.ok(Number.isNaN(buffer.entropies(100, 101)[0]));
    await buffer.settle();
    await checkTrue(buffer, sample, patcher);
  });

  it("says which bytes change, and nothing else does", async () => {
    const buffer = new PatchedBuffer(sample, rule, patcher);
    await buffer.settle();
    const old = { entropies: buffer.entropies(0, buffer.length + 1), starts: buffer.patchStarts() };
    const span = buffer.edit(typed(2000, "zz"));
    assert.deepEqual(span, { from: 2000, to: 2002 + 126 + 1 });
    await buffer.settle();
    const now = buffer.entropies(0, buffer.length + 1);
    assert.deepEqual(now.slice(0, 2001), old.entropies.slice(0, 2001));
    assert.deepEqual(now.slice(span.to), old.entropies.slice(span.to - 2));
    assert.notDeepEqual(now.slice(2001, span.to), old.entropies.slice(1999, span.to - 2));
    const outside = (starts: number[], shift: number) =>
      starts.filter((at) => at <= 2000 || at >= span.to - shift).map((at) => (at <= 2000 ? at : at + shift));
    assert.deepEqual(outside(buffer.patchStarts(), 0), outside(old.starts, 2));
  });

  it("stops when it is aborted and goes on later", async () => {
    const buffer = new PatchedBuffer(sample.subarray(0, 600), rule, patcher);
    await assert.rejects(buffer.settle({ signal: AbortSignal.abort(new Error("enough")) }), /enough/);
    await buffer.settle();
    await checkTrue(buffer, sample.subarray(0, 600), patcher);
  });

  it("holds no more after many edits than before", async () => {
    const buffer = new PatchedBuffer(sample, rule, patcher);
    await buffer.settle();
    for (let i = 0; i < 50; i++) await bytesRun(buffer, () => buffer.edit(typed(100 * i, "x")));
    const before = buffer.byteLength;
    for (let i = 0; i < 4000; i++) {
      const start = (i * 37) % 5000;
      buffer.edit(typed(start, "ab"));
      buffer.edit({ start, deleted: 2, inserted: new Uint8Array() });
    }
    await buffer.settle();
    assert.ok(buffer.byteLength <= before * 1.1, `${before}, then ${buffer.byteLength} bytes`);
    buffer.edit({ start: 0, deleted: buffer.length, inserted: new Uint8Array() });
    await buffer.settle();
    await checkTrue(buffer, new Uint8Array(), patcher);
  });
});

describe("PatchedBuffer without an entropy model", () => {
  it("says so where patches are cut by entropy", () => {
    assert.throws(
      () => new PatchedBuffer(sample, patching({ mode: "entropy" }), null),
      (error: Error) => error instanceof UserError && /no entropy model/.test(error.message),
    );
  });
});
