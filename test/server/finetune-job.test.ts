import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { saveSettings, saveState } from "../../model-runtime/training/run-files";
import { type Base, type ChildLike, FineTuneJob } from "../../server/finetune-job";
import type { FromProcess, RunState, StartParams, ToProcess } from "../../server/finetune-protocol";
import { useTemporaryFolder } from "../model-runtime/checkpoint/fixture";

const params: StartParams = { folder: "/w", filesExclude: {}, without: ["docs"], minutes: 5 };
const base: Base = { model: "/m", device: "cpu", threads: 1, lockFolder: null, priority: 10 };

/** A process whose words the test writes. */
class ScriptedChild extends EventEmitter implements ChildLike {
  readonly received: ToProcess[] = [];
  connected = true;
  send(message: ToProcess): void {
    this.received.push(message);
  }
  kill(): void {
    this.emit("exit", null, "SIGKILL");
  }
  disconnect(): void {
    this.connected = false;
  }
  says(message: FromProcess): void {
    this.emit("message", message);
  }
  ends(message: FromProcess): void {
    this.says(message);
    this.emit("exit", 0, null);
  }
}

const step = (number: number): FromProcess => ({
  type: "step",
  step: number,
  loss: 2,
  rate: 1,
  norm: 1,
  elapsed: 30,
  epoch: 0,
  heldOutBpb: 0.9,
  startBpb: 1,
  secondsLeft: 90,
});

describe("fine-tuning job", () => {
  const path = useTemporaryFolder();
  const children: ScriptedChild[] = [];
  let power = { isOnBattery: false };
  let states: RunState[];
  let kept: string[];
  let job: FineTuneJob;

  function create(batteryMs = 60_000): FineTuneJob {
    children.length = 0;
    states = [];
    kept = [];
    power = { isOnBattery: false };
    job = new FineTuneJob({
      fork() {
        children.push(new ScriptedChild());
        return children.at(-1)!;
      },
      adapters: { runFolder: path("fine-tuning"), adopt: () => "id" },
      isOnBattery: () => power.isOnBattery,
      onState: (state) => states.push(structuredClone(state)),
      onAdapter: (id) => kept.push(id),
      log: () => undefined,
      batteryMs,
    });
    return job;
  }
  afterEach(() => job.dispose());

  const running = () => {
    const { state } = job;
    assert.equal(state.kind, "running");
    return state as Extract<RunState, { kind: "running" }>;
  };

  /** A run that was cut off at step 7. */
  async function leaveRun(): Promise<void> {
    const folder = path("fine-tuning/run");
    mkdirSync(folder, { recursive: true });
    await saveSettings(folder, { root: "/w", minutes: 5, filesExclude: {}, without: ["docs"] });
    const vector = () => new Float32Array(4);
    const optimizer = { parameters: vector(), first: vector(), second: vector(), step: 7 };
    const counts = { elapsed: 1, seconds: 2, epoch: 0, position: 0, scoresSinceBest: 0, rateScale: 1, setbacks: 0 };
    const best = { parameters: vector(), bpb: 1, step: 7 };
    await saveState(folder, { optimizer, best, startBpb: 1, ...counts, history: [], layers: 2, positions: 128 });
  }

  it("tells how a run goes", () => {
    create();
    assert.deepEqual(job.state, { kind: "none" });
    assert.equal(job.start(params, base), null);
    const out = path("fine-tuning");
    const { folder, ...rest } = params;
    assert.deepEqual(children[0].received, [{ type: "start", root: folder, out, ...rest, ...base }]);
    children[0].says({ type: "phase", phase: "training", fraction: 0 });
    children[0].says({ type: "notice", sentence: "Memory is short." });
    children[0].says(step(1));
    const { phase, fraction, progress, curve, notices } = running();
    assert.deepEqual([phase, fraction, notices], ["training", 0.25, ["Memory is short."]]);
    assert.deepEqual(progress, { step: 1, epoch: 1, loss: 2, heldOutBpb: 0.9, startBpb: 1, secondsLeft: 90 });
    assert.deepEqual(curve, { loss: [[1, 2]], heldOut: [[0, 0.9]] });
  });

  it("refuses a second run", () => {
    create().start(params, base);
    assert.match(job.start(params, base)!, /goes on already; wait until it is done, or cancel it first\.$/);
    assert.equal(children.length, 1);
  });

  it("keeps an adapter that is better, and says what it gained", () => {
    create().start(params, base);
    const verdict = { isUsed: true, reason: "Better.", heldOut: {}, general: {}, byLanguage: {}, interval: [-1, 0] };
    const report = { verdict, seconds: 1, steps: 2, peakMemoryMb: 3 };
    children[0].ends({ type: "report", report } as unknown as FromProcess);
    assert.deepEqual(kept, ["id"]);
    assert.ok(job.state.kind === "done" && job.state.summary.adapter === "id");
    assert.equal(job.start(params, base), null);
  });

  it("says why a run failed, or that it ended by itself", () => {
    create().start(params, base);
    children[0].ends({ type: "failed", sentence: "There is too little text." });
    assert.deepEqual(job.state, { kind: "failed", sentence: "There is too little text." });
    job.start(params, base);
    children[1].emit("exit", null, "SIGSEGV");
    assert.ok(job.state.kind === "failed");
    assert.match(job.state.sentence, /ended unexpectedly \(SIGSEGV\); start it again\.$/);
  });

  it("pauses, goes on, and finishes early", () => {
    create().start(params, base);
    job.control({ action: "pause" }, () => base);
    assert.equal(running().pausedBy, "user");
    job.control({ action: "resume" }, () => base);
    assert.equal(running().pausedBy, null);
    job.control({ action: "finish" }, () => base);
    const said = children[0].received.slice(1);
    assert.deepEqual(said, [{ type: "pause", isPaused: true }, { type: "pause", isPaused: false }, { type: "finish" }]);
  });

  it("pauses on battery until the mains are back, or the user wants it to go on", async () => {
    create(5).start(params, base);
    const until = async (pausedBy: string | null) => {
      while (running().pausedBy !== pausedBy) await new Promise((resolve) => setTimeout(resolve, 5));
    };
    power.isOnBattery = true;
    await until("battery");
    power.isOnBattery = false;
    await until(null);
    power.isOnBattery = true;
    await until("battery");
    job.control({ action: "resume" }, () => base);
    await new Promise((resolve) => setTimeout(resolve, 30));
    assert.equal(running().pausedBy, null);
  });

  it("cancels at once, and leaves nothing", async () => {
    await leaveRun();
    create().start(params, base);
    job.control({ action: "cancel" }, () => base);
    assert.deepEqual(job.state, { kind: "none" });
    assert.deepEqual(create().state, { kind: "none" });
  });

  it("finds a run that was cut off, takes it up with its own settings, or discards it", async () => {
    await leaveRun();
    assert.deepEqual(create().state, { kind: "unfinished", folder: "/w", minutes: 5, step: 7 });
    assert.equal(
      job.control({ action: "resume" }, () => base),
      null,
    );
    const [start] = children[0].received;
    assert.ok(start.type === "start" && start.root === "/w" && start.without[0] === "docs" && start.minutes === 5);
    children[0].emit("exit", null, "SIGKILL");
    assert.ok(job.state.kind === "failed");
    assert.match(job.state.sentence, /goes on from where it was/);
    assert.equal(create().state.kind, "unfinished");
    job.control({ action: "cancel" }, () => base);
    assert.equal(create().state.kind, "none");
    assert.match(job.control({ action: "resume" }, () => base)!, /no run that could go on/);
  });

  it("lets the process keep its state when the window is closed", () => {
    create().start(params, base);
    job.dispose();
    assert.equal(children[0].connected, false);
  });

  it("is not disturbed by files of another program", () => {
    mkdirSync(path("fine-tuning/run"), { recursive: true });
    writeFileSync(path("fine-tuning/run/run.json"), "[]");
    assert.deepEqual(create().state, { kind: "none" });
  });
});
