import assert from "node:assert/strict";
import type { ModelState } from "../../server/protocol";
import { type StatusInputs, statusOf } from "../../server/status";

function check(inputs: Partial<StatusInputs>, state: ModelState, notices: string[] = []): void {
  const host = { kind: "unloaded" } as const;
  const usual = { host, folder: "/models/tiny", isPaused: false, lastMs: null, notices: [], last: null };
  const status = statusOf({ ...usual, ...inputs });
  assert.deepEqual(status, { state, notices, last: inputs.last ?? null });
}

describe("status", () => {
  const ready = {
    kind: "ready",
    device: "cpu",
    kernel: "integer",
    notice: null,
    adapter: null,
    adapterNotice: null,
  } as const;

  it("is the model's state", () => {
    check({}, { kind: "unloaded" });
    check({ host: { kind: "loading", fraction: 0.5 } }, { kind: "loading", fraction: 0.5 });
    check({ host: { kind: "problem", sentence: "No." } }, { kind: "problem", sentence: "No." });
  });
  it("names the model and the last time", () => {
    const expected = { model: "tiny", adapter: null, device: "cpu", kernel: "integer", lastMs: 12 };
    check({ host: ready, lastMs: 12 }, { kind: "ready", ...expected });
    check({ host: { ...ready, kind: "working" }, lastMs: 12 }, { kind: "working", ...expected });
  });
  it("names the adapter, or says why it is not used", () => {
    const model = { model: "tiny", device: "cpu", kernel: "integer", lastMs: null };
    check({ host: { ...ready, adapter: "/storage/today" } }, { kind: "ready", ...model, adapter: "today" });
    check({ host: { ...ready, adapterNotice: "It is another's." } }, { kind: "ready", ...model, adapter: null }, [
      "It is another's.",
    ]);
  });
  it("tells what came of the last request", () =>
    check({ last: { time: 1, sentence: "Sent." } }, { kind: "unloaded" }));
  it("is paused when switched off, whatever the model does", () =>
    check({ host: ready, isPaused: true }, { kind: "paused" }));
  it("tells of settings and of the device", () =>
    check(
      { host: { ...ready, notice: "No CUDA." }, notices: ["Wrong delay."] },
      { kind: "ready", model: "tiny", adapter: null, device: "cpu", kernel: "integer", lastMs: null },
      ["Wrong delay.", "No CUDA."],
    ));
});
