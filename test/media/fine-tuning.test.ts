import assert from "node:assert/strict";
import { aboutRun } from "../../media/fine-tuning/about";
import { dataOf } from "../../media/fine-tuning/data";
import { buttonsFor, figuresOf, gainsHead, gainsOf } from "../../media/fine-tuning/rows";
import type { RunningState, RunState, RunSummary } from "../../server/finetune-protocol";

const running: RunningState = {
  kind: "running",
  folder: "/w",
  phase: "training",
  fraction: 0.5,
  pausedBy: null,
  progress: { step: 32, epoch: 1, loss: 1.357, heldOutBpb: 0.9246, startBpb: 0.9536, secondsLeft: 114.8 },
  curve: { loss: [], heldOut: [] },
  notices: [],
};
const pair = { before: 0.7734, after: 0.7368 };
const comparison = { files: 12, bytes: 24677, bpb: pair, exactMatch: { before: 0.25, after: 0.28, lines: 517 } };
const completed = { lines: 40, bpb: pair, exactMatch: { before: 0.2, after: 0.3 } };
const summary: RunSummary = {
  adapter: "id",
  sentence: "Better.",
  heldOut: comparison,
  general: comparison,
  byLanguage: { Go: comparison },
  completions: { plain: completed, mixed: completed },
  interval: [-0.04, -0.03],
  seconds: 584,
  steps: 50,
  peakMemoryMb: 944,
};
const done: RunState = { kind: "done", summary, curve: running.curve };

describe("page of fine-tuning", () => {
  it("says how a run goes, in a line", () => {
    assert.equal(
      aboutRun(running),
      "Learning: step 32, loss 1.36, held out 0.925 bits per byte (0.954 at first), 2 min of training left.",
    );
    assert.match(aboutRun({ ...running, pausedBy: "battery" }), /^Paused, as the machine runs on battery\. Learning/);
    assert.equal(aboutRun({ ...running, phase: "scoring" }), "Measuring the model as it is (50 %)…");
    assert.match(aboutRun({ ...running, phase: "loading", progress: null }), /^Making ready to learn…$/);
    assert.match(aboutRun({ kind: "unfinished", folder: "/w", minutes: 5, step: 7 }), /cut off after step 7/);
    assert.match(aboutRun({ ...done, summary: { ...summary, adapter: null } }), /discarded/);
  });

  it("offers what can be done", () => {
    assert.deepEqual(buttonsFor(running), ["pause", "finish", "cancel"]);
    assert.deepEqual(buttonsFor({ ...running, pausedBy: "user", phase: "scoring" }), ["resume", "cancel"]);
    assert.deepEqual(buttonsFor({ kind: "unfinished", folder: "/w", minutes: 5, step: 7 }), ["resume", "cancel"]);
    for (const state of [{ kind: "none" } as const, done, { kind: "failed", sentence: "" } as const])
      assert.deepEqual(buttonsFor(state), ["start", "adapters"]);
  });

  it("has figures and gains", () => {
    assert.deepEqual(figuresOf({ kind: "none" }), []);
    assert.deepEqual(figuresOf(running)[3], ["Held out, bits per byte", "0.9246"]);
    assert.deepEqual(figuresOf(done).at(-1), ["Memory at most", "0.94 GB"]);
    const rows = gainsOf(summary);
    assert.deepEqual(rows[0], ["Held-out files", "0.773", "0.737", "25.0 %", "28.0 %"]);
    assert.deepEqual(
      rows.map(([name]) => name),
      ["Held-out files", "General code", "40 lines, completed", "The same, with counts of the workspace"],
    );
    for (const row of rows) assert.equal(row.length, gainsHead.length);
    const few = { ...completed, lines: 4 };
    assert.equal(gainsOf({ ...summary, completions: { plain: few, mixed: few } }).length, 2, "4 lines say nothing");
    const two = gainsOf({ ...summary, byLanguage: { Go: comparison, Markdown: comparison }, completions: null });
    assert.deepEqual(
      two.map(([name]) => name),
      ["Held-out files", "Go", "Markdown", "General code"],
    );
  });

  it("plots losses and scores over the same steps", () => {
    const curve = {
      loss: [[1, 2] as [number, number], [3, 1.5] as [number, number]],
      heldOut: [[2, 0.9] as [number, number], [3, 0.8] as [number, number]],
    };
    assert.deepEqual(dataOf(curve), [
      [1, 2, 3],
      [2, null, 1.5],
      [null, 0.9, 0.8],
    ]);
  });
});
