import assert from "node:assert/strict";
import { isProblem, logLine, type ServerState, type StatusView, statusView } from "../../client/status-view";
import type { ModelState, Status } from "../../server/protocol";

const loaded = { model: "default", device: "cpu", kernel: null, adapter: null, lastMs: null };

describe("status view", () => {
  function check(server: ServerState, text: string, severity: StatusView["severity"], tooltip: RegExp) {
    const view = statusView(server, null);
    assert.deepEqual([view.text, view.severity], [text, severity]);
    assert.match(view.lines.join("\n"), tooltip);
  }

  function checkModel(state: ModelState, text: string, severity: StatusView["severity"], tooltip: RegExp) {
    check({ kind: "running", status: { state, notices: [], last: null } }, text, severity, tooltip);
  }

  it("tells the server's life", () => {
    check({ kind: "starting" }, "$(loading~spin) BLT", "normal", /starting/);
    check({ kind: "restarting" }, "$(loading~spin) BLT", "normal", /started again/);
    check({ kind: "stopped", sentence: "It ended." }, "$(error) BLT", "error", /^It ended\.$/);
  });
  it("tells how far the model is loaded", () => {
    checkModel({ kind: "unloaded" }, "$(sparkle) BLT", "normal", /loads when you type/);
    checkModel({ kind: "loading", fraction: 0.404 }, "$(loading~spin) BLT 40%", "normal", /loading/);
  });
  it("tells the time of the last suggestion, the model and the device", () => {
    checkModel({ kind: "ready", ...loaded }, "$(sparkle) BLT", "normal", /^Ready\.\nModel: default, on cpu\.$/);
    checkModel(
      { kind: "ready", ...loaded, kernel: "native, avx2", lastMs: 41.7 },
      "$(sparkle) BLT 42 ms",
      "normal",
      /42 ms.*\n.*cpu \(kernels: native, avx2\)/,
    );
    checkModel({ kind: "working", ...loaded, lastMs: 41.7 }, "$(loading~spin) BLT 42 ms", "normal", /computed/);
  });
  it("tells what came of the last request, whether it was sent or not", () => {
    const lines = (last: Status["last"], skipped: Status["last"]) =>
      statusView({ kind: "running", status: { state: { kind: "ready", ...loaded }, notices: [], last } }, null, skipped)
        .lines;
    const [sent, skipped] = [
      { time: 5, sentence: "It was sent." },
      { time: 7, sentence: "Text is selected." },
    ];
    assert.ok(!lines(null, null).some((line) => line.startsWith("The last request")));
    assert.ok(lines(sent, null).includes("The last request: It was sent."));
    assert.ok(lines(sent, skipped).includes("The last request: Text is selected."));
    assert.ok(lines({ ...sent, time: 9 }, skipped).includes("The last request: It was sent."));
    assert.ok(lines(null, skipped).includes("The last request: Text is selected."));
  });
  it("tells that it is off", () => {
    checkModel({ kind: "paused" }, "$(circle-slash) BLT", "normal", /off/);
  });
  it("tells a problem in the server's words", () => {
    checkModel({ kind: "problem", sentence: "No config.json." }, "$(warning) BLT", "warning", /^No config\.json\.$/);
  });

  it("tells that the language is off, unless there is a problem", () => {
    const ready: ServerState = {
      kind: "running",
      status: { state: { kind: "ready", ...loaded }, notices: [], last: null },
    };
    assert.match(statusView(ready, "markdown").lines[0], /off for markdown/);
    const problem: ModelState = { kind: "problem", sentence: "No config.json." };
    assert.equal(
      statusView({ kind: "running", status: { state: problem, notices: [], last: null } }, "markdown").lines[0],
      "No config.json.",
    );
  });

  it("adds the notices as a warning", () => {
    const status = {
      state: { kind: "ready", ...loaded } as ModelState,
      notices: ["blt.delay is no number."],
      last: null,
    };
    const view = statusView({ kind: "running", status }, null);
    assert.equal(view.severity, "warning");
    assert.equal(view.lines.at(-1), "blt.delay is no number.");
  });

  it("tells problems from other states", () => {
    const running = (state: ModelState): ServerState => ({
      kind: "running",
      status: { state, notices: [], last: null },
    });
    const problems: ServerState[] = [{ kind: "stopped", sentence: "" }, running({ kind: "problem", sentence: "" })];
    assert.ok(problems.every(isProblem));
    assert.ok(![{ kind: "starting" } as const, running({ kind: "paused" })].some(isProblem));
  });

  function checkLog(state: ModelState, notices: string[], line: string | null) {
    assert.equal(logLine({ kind: "running", status: { state, notices, last: { time: 1, sentence: "Sent." } } }), line);
  }

  it("logs what does not change with each key", () => {
    checkLog({ kind: "ready", ...loaded, lastMs: 12 }, [], "Ready. Model: default, on cpu.");
    checkLog(
      { kind: "ready", ...loaded },
      ["blt.delay is no number."],
      "Ready. Model: default, on cpu. blt.delay is no number.",
    );
    checkLog({ kind: "loading", fraction: 0.5 }, [], "The model is loading.");
    checkLog({ kind: "problem", sentence: "No config.json." }, [], "No config.json.");
    checkLog({ kind: "working", ...loaded }, [], null);
    checkLog({ kind: "unloaded" }, [], null);
    assert.equal(logLine({ kind: "stopped", sentence: "It ended." }), "It ended.");
  });
});
