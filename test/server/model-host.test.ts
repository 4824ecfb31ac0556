import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import type { HostState } from "../../server/host-state";
import { type Job, ModelHost, type WorkerLike } from "../../server/model-host";
import type { FromWorker, ModelChoice, ModelRequest, ToWorker } from "../../server/worker-protocol";

const choice: ModelChoice = { folder: "/m", device: "cpu", threads: 1, adapter: null };
const loadedState = { device: "cpu", kernel: null, notice: null, adapter: null, adapterNotice: null };
const request: ModelRequest = {
  context: Buffer.from("a"),
  extent: { kind: "line" },
  maxBytes: 10,
  timeLimitMs: 100,
  minConfidence: 0,
  alternative: 0,
};

/** A worker whose answers the test writes. */
class ScriptedWorker extends EventEmitter implements WorkerLike {
  readonly received: ToWorker[] = [];

  postMessage(message: ToWorker): void {
    this.received.push(message);
    if (message.type === "unload") setImmediate(() => this.emit("exit", 0));
  }
  async terminate(): Promise<number> {
    this.emit("exit", 1);
    return 1;
  }
  says(message: FromWorker): void {
    this.emit("message", message);
  }
  loads(): void {
    this.says({ type: "loaded", ...loadedState });
  }
  writes(job: number, text: string): void {
    for (const byte of Buffer.from(text)) this.says({ type: "byte", id: job, byte, logProb: -1 });
  }
  ends(job: number): void {
    this.says({ type: "done", id: job, end: "rule", processedBytes: 1, reusedBytes: 2 });
  }
  crashes(error: Error | null): void {
    if (error !== null) this.emit("error", error);
    this.emit("exit", 1);
  }
}

function setup(backOffMs: number[] = [0, 0, 0]) {
  const workers: ScriptedWorker[] = [];
  const states: HostState[] = [];
  const log: string[] = [];
  const events = new EventEmitter();
  const host = new ModelHost({
    startWorker() {
      workers.push(new ScriptedWorker());
      setImmediate(() => events.emit("started"));
      return workers[workers.length - 1];
    },
    onState: (state) => states.push(state),
    log: (line) => log.push(line),
    backOffMs,
  });
  const started = async () => {
    await once(events, "started");
    return workers[workers.length - 1];
  };
  return { host, workers, states, log, started, kinds: () => states.map(({ kind }) => kind) };
}

async function loaded() {
  const all = setup();
  const start = all.started();
  all.host.use(choice);
  const worker = await start;
  worker.loads();
  return { ...all, worker };
}

/** How the job ended and what it wrote. */
async function ended(job: Job): Promise<string> {
  const { end, bytes, logProbs } = await job.done;
  assert.equal(bytes.length, logProbs.length);
  return `${end}:${Buffer.from(bytes)}`;
}

describe("model host", () => {
  it("loads the model that is chosen", async () => {
    const { worker, states } = await loaded();
    assert.deepEqual(worker.received, [{ type: "load", choice }]);
    assert.deepEqual(states, [
      { kind: "loading", fraction: 0 },
      { kind: "ready", ...loadedState },
    ]);
  });
  it("swaps the adapter of the loaded model, and keeps the thread", async () => {
    const { host, worker, workers, kinds } = await loaded();
    const job = host.complete(request);
    host.use({ ...choice, adapter: "/a" });
    assert.equal(await ended(job), "aborted:");
    assert.deepEqual(worker.received.at(-1), { type: "adapter", folder: "/a" });
    worker.says({ type: "adapted", adapter: "/a", adapterNotice: null });
    assert.deepEqual(host.state, { kind: "ready", ...loadedState, adapter: "/a" });
    assert.equal(workers.length, 1);
    assert.deepEqual(kinds(), ["loading", "ready", "working", "ready", "ready"]);
    host.use({ ...choice, adapter: null });
    worker.says({ type: "adapted", adapter: null, adapterNotice: "It does not fit." });
    assert.deepEqual(host.state, { kind: "ready", ...loadedState, adapterNotice: "It does not fit." });
  });
  it("answers a request", async () => {
    const { host, worker, kinds } = await loaded();
    const job = host.complete(request);
    worker.writes(1, "bc");
    assert.equal(Buffer.from(job.soFar().bytes).toString(), "bc");
    worker.ends(1);
    assert.equal(await ended(job), "rule:bc");
    assert.deepEqual(kinds(), ["loading", "ready", "working", "ready"]);
    assert.deepEqual(host.counters, { processedBytes: 1, reusedBytes: 2, aheadBytes: 0 });
  });
  it("counts what nobody waits for as read ahead", async () => {
    const { host, worker } = await loaded();
    const job = host.complete({ ...request, isAhead: true });
    worker.ends(1);
    await job.done;
    assert.deepEqual(host.counters, { processedBytes: 0, reusedBytes: 0, aheadBytes: 1 });
  });
  it("reads a context ahead, without being at work for anybody", async () => {
    const { host, worker, kinds } = await loaded();
    const job = host.read(request.context);
    assert.deepEqual(worker.received[1], { type: "read", id: 1, context: request.context });
    worker.says({ type: "read", id: 1, end: "read", processedBytes: 1 });
    assert.equal(await ended(job), "read:");
    assert.deepEqual(kinds(), ["loading", "ready"]);
  });
  it("reads ahead as soon as the model is loaded, and gives way to a request", async () => {
    const { host, started } = setup();
    const start = started();
    host.use(choice);
    const job = host.read(request.context);
    const worker = await start;
    worker.loads();
    host.complete(request);
    assert.equal(await ended(job), "aborted:");
    assert.deepEqual(
      worker.received.map(({ type }) => type),
      ["load", "read", "abort", "complete"],
    );
  });
  it("reads nothing ahead of a request that it works on, nor without a model", async () => {
    const { host, worker } = await loaded();
    host.complete(request);
    assert.equal(await ended(host.read(request.context)), "aborted:");
    host.unload();
    assert.equal(await ended(host.read(request.context)), "aborted:");
    assert.equal(worker.received.filter(({ type }) => type === "read").length, 0);
  });
  it("keeps a request until the model is loaded", async () => {
    const { host, started } = setup();
    const start = started();
    host.use(choice);
    const job = host.complete(request);
    const worker = await start;
    assert.equal(worker.received.length, 1);
    worker.loads();
    assert.deepEqual(worker.received[1], { type: "complete", id: 1, request });
    worker.ends(1);
    assert.equal(await ended(job), "rule:");
  });
  it("aborts a request for a newer one, and keeps their bytes apart", async () => {
    const { host, worker } = await loaded();
    const first = host.complete(request);
    worker.writes(1, "x");
    const second = host.complete(request);
    worker.writes(1, "y");
    worker.writes(2, "z");
    worker.ends(1);
    worker.ends(2);
    assert.equal(await ended(first), "aborted:x");
    assert.equal(await ended(second), "rule:z");
    assert.deepEqual(
      worker.received.slice(1).map(({ type }) => type),
      ["complete", "abort", "complete"],
    );
  });
  it("aborts a request that is not wanted any more", async () => {
    const { host, worker, kinds } = await loaded();
    const job = host.complete(request);
    job.abort();
    job.abort();
    assert.equal(await ended(job), "aborted:");
    assert.deepEqual(
      worker.received.slice(1).map(({ type }) => type),
      ["complete", "abort"],
    );
    assert.equal(kinds().at(-1), "ready");
  });
  it("says why a model cannot be loaded, and fails what waits for it", async () => {
    const { host, started, states } = setup();
    const start = started();
    host.use(choice);
    const waiting = host.complete(request);
    (await start).says({ type: "refused", sentence: "There is no folder /m." });
    assert.equal(await ended(waiting), "failed:");
    assert.deepEqual(states.at(-1), { kind: "problem", sentence: "There is no folder /m." });
    assert.equal(await ended(host.complete(request)), "failed:");
  });
  it("starts a crashed model again", async () => {
    const { host, worker, started, log, workers } = await loaded();
    const job = host.complete(request);
    const start = started();
    worker.crashes(new Error("bang"));
    assert.equal(await ended(job), "failed:");
    (await start).loads();
    assert.equal(host.state.kind, "ready");
    assert.equal(workers.length, 2);
    assert.match(log[0], /ended with code 1: Error: bang/);
  });
  it("gives up after the third restart in a row, and says how to go on", async () => {
    const { host, worker, started, states } = await loaded();
    let crashing = worker;
    for (let restart = 0; restart < 3; restart++) {
      const start = started();
      crashing.crashes(new Error("bang\nat somewhere"));
      crashing = await start;
      crashing.loads();
    }
    crashing.crashes(new Error("bang\nat somewhere"));
    assert.deepEqual(states.at(-1), {
      kind: "problem",
      sentence:
        "The model stopped 4 times in a row (bang) and is not started again by itself; restart the model, or choose another one.",
    });
    const start = started();
    host.restart(choice);
    (await start).loads();
    assert.equal(host.state.kind, "ready");
  });
  it("counts crashes anew after a request that went well", async () => {
    const { host, worker, started } = await loaded();
    let crashing = worker;
    for (let crash = 0; crash < 6; crash++) {
      host.complete(request);
      crashing.ends(crash + 1);
      const start = started();
      crashing.crashes(null);
      crashing = await start;
      crashing.loads();
    }
    assert.equal(host.state.kind, "ready");
  });
  it("does not start again what has no memory", async () => {
    const heap = Object.assign(new Error("worker terminated"), { code: "ERR_WORKER_OUT_OF_MEMORY" });
    for (const error of [heap, new Error("std::bad_alloc"), new RangeError("Array buffer allocation failed")]) {
      const { worker, states, workers } = await loaded();
      worker.crashes(error);
      const state = states.at(-1)!;
      assert.match(state.kind === "problem" ? state.sentence : "", /^There is not enough memory for the model in \/m;/);
      assert.equal(workers.length, 1);
    }
  });
  it("ends the old model before it starts another", async () => {
    const { host, worker, started, workers } = await loaded();
    const start = started();
    host.use({ ...choice, folder: "/n" });
    assert.equal(workers.length, 1);
    assert.deepEqual(worker.received.at(-1), { type: "unload" });
    const next = await start;
    // Late words of the old one are not heard.
    worker.says({ type: "refused", sentence: "Old." });
    next.loads();
    assert.equal(host.state.kind, "ready");
    assert.deepEqual(next.received, [{ type: "load", choice: { ...choice, folder: "/n" } }]);
  });
  it("leaves the model alone when the choice is the same", async () => {
    const { host, worker } = await loaded();
    host.use({ ...choice });
    assert.equal(worker.received.length, 1);
  });
  it("unloads, and loads again for the next request", async () => {
    const { host, worker, started, kinds } = await loaded();
    host.unload();
    assert.deepEqual(worker.received.at(-1), { type: "unload" });
    assert.equal(kinds().at(-1), "unloaded");
    const start = started();
    const job = host.complete(request);
    const next = await start;
    next.loads();
    next.ends(1);
    assert.equal(await ended(job), "rule:");
  });
  it("unloads when idle", async () => {
    const { host, worker } = await loaded();
    host.unloadAfter(1);
    await once(worker, "exit");
    assert.equal(host.state.kind, "unloaded");
  });
  it("has a problem when no model can be chosen", async () => {
    const { host, worker } = await loaded();
    host.refuse("Name a folder.");
    assert.deepEqual(host.state, { kind: "problem", sentence: "Name a folder." });
    assert.deepEqual(worker.received.at(-1), { type: "unload" });
  });
  it("ends with its thread", async () => {
    const { host, worker } = await loaded();
    const job = host.complete(request);
    await host.dispose();
    assert.equal(await ended(job), "aborted:");
    assert.equal(worker.received.at(-1)?.type, "unload");
  });
});
