import assert from "node:assert/strict";
import {
  adapterEntry,
  adapterName,
  doneMessage,
  folderEntries,
  runItem,
  selectionLine,
  selectionProblem,
  shareOf,
  timeEntries,
} from "../../client/finetune-text";
import type { AdapterInfo, Preview, RunningState, RunSummary } from "../../server/finetune-protocol";

const preview: Preview = {
  files: 12,
  bytes: 120_000,
  rest: { files: 1, bytes: 20_000 },
  folders: [
    { path: "src", files: 10, bytes: 90_000 },
    { path: "test", files: 1, bytes: 10_000 },
  ],
  passedOver: [
    { reason: "ignored", count: 3 },
    { reason: "secrets", count: 1 },
  ],
  model: "default",
  memoryBytes: 1.13e9,
  bytesPerMinute: 12_000,
  leastBytes: 16_000,
};

const running: RunningState = {
  kind: "running",
  folder: "/w",
  phase: "training",
  fraction: 0.5,
  pausedBy: null,
  progress: null,
  curve: { loss: [], heldOut: [] },
  notices: [],
};

const info: AdapterInfo = {
  id: "2026-01-02T03-04-05",
  date: "2026-01-02T03:04:05.678Z",
  files: 12,
  trainedBytes: 345_600,
  sizeBytes: 1_230_000,
  heldOut: { before: 0.81234, after: 0.75 },
  general: null,
  exactMatch: { before: 0.25, after: 0.281 },
  isInUse: false,
  problem: null,
};

describe("texts of fine-tuning", () => {
  it("list the folders, and the files beside them", () => {
    assert.deepEqual(folderEntries(preview), [
      { label: "$(folder) src", description: "10 files, 90.0 kB", path: "src" },
      { label: "$(folder) test", description: "1 file, 10.0 kB", path: "test" },
      { label: "$(files) Files beside these folders", description: "1 file, 20.0 kB", path: null },
    ]);
    const [all] = folderEntries({ ...preview, folders: [] });
    assert.equal(all.label, "$(files) All files");
  });

  it("sum up what is selected, and say when that is too little", () => {
    assert.equal(selectionLine(preview, []), "12 files, 120.0 kB; 4 passed over (ignored, secrets)");
    assert.match(selectionLine(preview, ["src"]), /^2 files, 30\.0 kB;/);
    assert.equal(selectionProblem(preview, ["src"]), null);
    const small = { ...preview, rest: { files: 0, bytes: 0 }, files: 11, bytes: 100_000 };
    assert.equal(selectionProblem(small, ["src"]), "Fine-tuning takes at least 16.0 kB of text; 10.0 kB are selected.");
  });

  it("offer times, with what they bring and take", () => {
    const [first, ...others] = timeEntries(preview, []);
    assert.deepEqual(first, {
      minutes: 10,
      label: "$(clock) About 10 min",
      description: "recommended",
      detail: "Reads about 65 % of the text; takes 1.1 GB of memory, at low priority",
    });
    assert.deepEqual(
      others.map(({ minutes }) => minutes),
      [5, 20, 60, 1],
    );
    assert.deepEqual(
      others.map(({ label }) => label),
      ["$(clock) About 5 min", "$(clock) About 20 min", "$(clock) About 1 h", "$(clock) About 1 min"],
    );
    assert.match(timeEntries(preview, ["src"])[0].detail, /^Reads the text about 2\.6 times;/);
    assert.match(timeEntries({ ...preview, bytes: 78_000 }, [])[0].detail, /^Reads the text about once;/);
    assert.match(timeEntries({ ...preview, bytes: 7_800 }, [])[0].detail, /^Reads the text about 10 times;/);
  });

  it("show in the status bar how far a run is", () => {
    assert.equal(runItem({ kind: "none" }), null);
    assert.equal(runItem(running)!.text, "$(mortar-board) BLT 53%");
    assert.match(runItem({ ...running, pausedBy: "user" })!.text, /^\$\(debug-pause\)/);
    assert.match(runItem({ kind: "unfinished", folder: "/w", minutes: 5, step: 7 })!.tooltip, /can go on/);
    const shares = (["reading", "scoring", "loading", "training", "judging"] as const).flatMap((phase) =>
      [0, 1].map((fraction) => shareOf({ ...running, phase, fraction })),
    );
    assert.deepEqual(
      shares,
      [...shares].sort((a, b) => a - b),
    );
    assert.deepEqual([shares[0], shares.at(-1)], [0, 100]);
  });

  it("say what came of it", () => {
    const summary = { adapter: "id", sentence: "Better: 0.8 -> 0.7." } as RunSummary;
    assert.equal(
      doneMessage(summary),
      "BLT has learned from this workspace. Better: 0.8 -> 0.7. Suggestions use it now.",
    );
    assert.match(doneMessage({ ...summary, adapter: null }), /^BLT: Nothing was changed\. /);
  });

  it("name an adapter by its date, as the list does", () => {
    assert.equal(adapterEntry(info).label, `$(mortar-board) ${adapterName(info.id)}`);
    assert.equal(adapterName(`${info.id}-2`), `${adapterName(info.id)} (2)`);
    assert.equal(adapterName("team"), "team");
  });

  it("describe an adapter by date, gains and size", () => {
    const { label, description, detail } = adapterEntry(info);
    assert.match(label, /^\$\(mortar-board\) 2026-01-0\d \d\d:\d\d$/);
    assert.equal(description, "");
    assert.equal(detail, "0.812 → 0.750 bits per byte; lines right 25.0 % → 28.1 %; 12 files, 345.6 kB; 1.2 MB");
    assert.match(adapterEntry({ ...info, isInUse: true }).label, /^\$\(check\)/);
    assert.deepEqual(adapterEntry({ ...info, id: "shared", problem: "It is another's." }), {
      label: "$(warning) The adapter that the settings name",
      description: "",
      detail: "It is another's.",
    });
  });
});
