import assert from "node:assert/strict";
import { on, once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SHARE_ENV, Worker } from "node:worker_threads";
import { openModel } from "../../model-runtime/model/load-model";
import { writeAdapter } from "../../model-runtime/training/adapter-file";
import { adapterBase } from "../../model-runtime/training/kit";
import type { FromWorker, ModelRequest, ToWorker } from "../../server/worker-protocol";

import { randomAdapter } from "../model-runtime/training/adapter-fixture";

const folder = join(__dirname, "../golden/k2");

const request: ModelRequest = {
  context: Buffer.from("def add(a, b):\n    return "),
  extent: { kind: "block", indent: 0, takesCloser: true },
  maxBytes: 8,
  timeLimitMs: 60_000,
  minConfidence: 0,
  alternative: 0,
};

/** What a worker of its own answers to requests that are sent at once, up to the last one's end. */
async function answersTo(...requests: ToWorker[]): Promise<FromWorker[]> {
  return answersOf(load, requests);
}

async function answersOf(model: ToWorker, requests: readonly ToWorker[]): Promise<FromWorker[]> {
  const worker = start();
  const received: FromWorker[] = [];
  for (const message of [model, ...requests]) worker.postMessage(message);
  for await (const [message] of on(worker, "message") as AsyncIterable<[FromWorker]>) {
    received.push(message);
    const isAsked = ({ type }: ToWorker) => type === "complete";
    if (received.filter(({ type }) => type === "done").length === requests.filter(isAsked).length) break;
  }
  await end(worker);
  return received;
}

function start(): Worker {
  const execArgv = ["--require", "tsx/cjs"];
  return new Worker(join(__dirname, "../../server/model-worker.ts"), { execArgv, env: SHARE_ENV });
}

async function end(worker: Worker): Promise<void> {
  const exited = once(worker, "exit");
  worker.postMessage({ type: "unload" } satisfies ToWorker);
  assert.deepEqual(await exited, [0]);
}

const load: ToWorker = { type: "load", choice: { folder, device: "cpu", threads: 1, adapter: null } };
const loadDefault: ToWorker = {
  type: "load",
  choice: { folder: join(__dirname, "../../models/default"), device: "cpu", threads: undefined, adapter: null },
};

describe("model worker", () => {
  it("loads, writes within its limit and says what it read", async () => {
    const all = await answersTo({ type: "complete", id: 7, request });
    const types = all.map(({ type }) => type).filter((type) => type !== "loading");
    assert.deepEqual(types, ["loaded", ...Array(8).fill("byte"), "done"]);
    assert.deepEqual(all.at(-1), {
      type: "done",
      id: 7,
      end: "length",
      processedBytes: request.context.length + 1,
      reusedBytes: 0,
    });
  });
  it("writes with the embedded model, whose pieces are read in bytes", async () => {
    const line: ModelRequest = {
      ...request,
      extent: { kind: "line" },
      maxBytes: 64,
      minConfidence: 0.5,
      alternative: 0,
    };
    const all = await answersOf(loadDefault, [{ type: "complete", id: 1, request: line }]);
    const bytes = all.flatMap((message) => (message.type === "byte" ? [message.byte] : []));
    assert.equal(Buffer.from(bytes).toString(), "a + b");
    assert.deepEqual(all.at(-1), { type: "done", id: 1, end: "rule", processedBytes: 27, reusedBytes: 0 });
  });
  it("refuses a folder that is no model in one sentence", async () => {
    const choice = { folder: __dirname, device: "cpu" as const, threads: 1, adapter: null };
    const worker = start();
    const exited = once(worker, "exit");
    const received: FromWorker[] = [];
    worker.on("message", (message) => received.push(message));
    worker.postMessage({ type: "load", choice } satisfies ToWorker);
    assert.deepEqual(await exited, [0]);
    const last = received.at(-1)!;
    assert.match(last.type === "refused" ? last.sentence : "", /config\.json/);
  });
  it("swaps adapters between requests without losing the texts, and is the model as it was without one", async () => {
    const checkpoint = openModel(folder);
    const layer = "model.local_decoder.cross_attn_layers.0.q_proj";
    const home = mkdtempSync(join(tmpdir(), "blt-adapter-"));
    try {
      const adapter = randomAdapter(checkpoint, [layer]);
      await writeAdapter(home, adapter, adapterBase(checkpoint));
      await writeAdapter(
        join(home, "other"),
        { ...adapter, card: { ...adapter.card!, base: "another" } },
        adapterBase(checkpoint),
      );
      const ask = (id: number): ToWorker => ({ type: "complete", id, request });
      const all = await answersTo(
        ask(1),
        { type: "adapter", folder: home },
        ask(2),
        { type: "adapter", folder: join(home, "other") },
        ask(3),
      );
      const written = (id: number) =>
        all.flatMap((message) => (message.type === "byte" && message.id === id ? [message.logProb] : []));
      const distance = (a: readonly number[], b: readonly number[]) =>
        Math.max(...a.map((value, i) => Math.abs(value - b[i])));
      assert.ok(distance(written(2), written(1)) > 0.01);
      assert.ok(distance(written(3), written(1)) < 1e-4);
      const adapted = all.filter((message) => message.type === "adapted");
      assert.deepEqual(
        adapted.map((message) => message.adapter),
        [home, null],
      );
      assert.match(adapted[1].adapterNotice!, /was trained on another model than .* The model is used without it\.$/);
    } finally {
      rmSync(home, { recursive: true });
    }
  });
  it("stops an aborted request before its next run", async () => {
    const worker = start();
    worker.postMessage(load);
    worker.postMessage({ type: "complete", id: 1, request: { ...request, maxBytes: 4096 } } satisfies ToWorker);
    let bytes = 0;
    for await (const [message] of on(worker, "message") as AsyncIterable<[FromWorker]>) {
      if (message.type === "byte" && ++bytes === 3) worker.postMessage({ type: "abort", id: 1 } satisfies ToWorker);
      if (message.type === "done") {
        assert.equal(message.end, "aborted");
        break;
      }
    }
    assert.ok(bytes < 100, `${bytes} bytes were written`);
    await end(worker);
  });
  it("reads ahead what the next request then finds read", async () => {
    const worker = start();
    const all: FromWorker[] = [];
    const messages: ToWorker[] = [
      load,
      { type: "read", id: 1, context: request.context },
      { type: "complete", id: 2, request },
    ];
    for (const message of messages) worker.postMessage(message);
    for await (const [message] of on(worker, "message") as AsyncIterable<[FromWorker]>) {
      all.push(message);
      if (message.type === "done") break;
    }
    await end(worker);
    assert.deepEqual(
      all.filter(({ type }) => type === "read" || type === "done"),
      [
        { type: "read", id: 1, end: "read", processedBytes: request.context.length + 1 },
        { type: "done", id: 2, end: "length", processedBytes: 1, reusedBytes: request.context.length },
      ],
    );
  });
  it("keeps what it has read when reading ahead is interrupted", async () => {
    const context = Buffer.from("const a = b + c;\n".repeat(20));
    const worker = start();
    for (const message of [loadDefault, { type: "read", id: 1, context }] as ToWorker[]) worker.postMessage(message);
    const done: (FromWorker & { type: "read" })[] = [];
    for await (const [message] of on(worker, "message") as AsyncIterable<[FromWorker]>) {
      if (message.type === "loaded") worker.postMessage({ type: "abort", id: 1 } satisfies ToWorker);
      if (message.type === "read" && done.push(message) === 1)
        worker.postMessage({ type: "read", id: 2, context } satisfies ToWorker);
      if (done.length === 2) break;
    }
    await end(worker);
    assert.equal(done[1].end, "read");
    assert.equal(done[1].processedBytes, 1);
  });
  it("reads only what is new", async () => {
    const longer = { ...request, context: Buffer.concat([request.context, Buffer.from("a +")]) };
    const all = await answersTo(
      { type: "complete", id: 1, request },
      { type: "complete", id: 2, request: longer },
      { type: "complete", id: 3, request: { ...longer, maxBytes: 4 } },
    );
    const done = all.filter((message) => message.type === "done");
    assert.deepEqual(
      done.map(({ processedBytes, reusedBytes }) => processedBytes + reusedBytes),
      [request, longer, longer].map(({ context }) => context.length + 1),
    );
    assert.ok(done[1].reusedBytes >= request.context.length + 1);
    assert.equal(done[2].processedBytes, 1);
    const written = (id: number) =>
      all.flatMap((message) => (message.type === "byte" && message.id === id ? [message.byte] : []));
    assert.deepEqual(written(3), written(2).slice(0, 4));
  });
});
