import assert from "node:assert/strict";
import * as ort from "onnxruntime-node";
import { addProbe, type Compiled, ExactSession, probe } from "../../model-runtime/exact-session";
import { Graph } from "../../model-runtime/graph/graph";
import { createSession } from "../../model-runtime/session";

type Data = { data: Float32Array };

/** A session that adds 1 to x, and rounds products as `rounds` says, run by run. */
function session(name: string, log: string[], ...rounds: boolean[]): Compiled<Data> {
  return {
    async run({ x, probe }, fetches) {
      log.push(`${name} runs for ${fetches}`);
      const kept = rounds.shift() ? (value: number) => Math.round(value * 2 ** 10) / 2 ** 10 : (value: number) => value;
      return { y: { data: x.data.map((value) => value + 1) }, probed: { data: probe.data.map(kept) } };
    },
    release: async () => void log.push(`${name} is released`),
  };
}

describe("ExactSession", () => {
  const x = { data: Float32Array.of(1) };
  const given = { data: probe.data };

  it("asks each run whether its products are exact, and compiles the session again where they are rounded", async () => {
    const log: string[] = [];
    const later = [session("second", log, true), session("third", log, false, true), session("fourth", log)];
    const exact = new ExactSession(session("first", log, true), async () => later.shift()!, given);
    for (let run = 0; run < 2; run++) assert.deepEqual((await exact.run({ x }, ["y"])).y.data, Float32Array.of(2));
    await exact.release();
    assert.deepEqual(log, [
      "first runs for y,probed",
      "first is released",
      "second runs for y,probed",
      "second is released",
      "third runs for y,probed",
      "third runs for y,probed",
      "third is released",
      "fourth runs for y,probed",
      "fourth is released",
    ]);
  });

  it("takes what there is where all sessions round", async () => {
    const log: string[] = [];
    const rounding = () => session("it", log, true, true);
    const exact = new ExactSession(rounding(), async () => rounding(), given);
    for (let run = 0; run < 2; run++) assert.deepEqual((await exact.run({ x }, ["y"])).y.data, Float32Array.of(2));
    assert.equal(log.filter((line) => line.includes("runs")).length, 9);
  });

  it("has runs that come together wait for each other, and for none that failed", async () => {
    const log: string[] = [];
    const failing = { ...session("failing", log), run: () => Promise.reject(new Error("out of memory")) };
    let compiled: Compiled<Data> = failing;
    const changing: Compiled<Data> = { run: (...words) => compiled.run(...words), release: () => compiled.release() };
    const exact = new ExactSession(changing, async () => session("second", log), given);
    await assert.rejects(exact.run({ x }, ["y"]), { message: "out of memory" });
    compiled = session("first", log, true);
    await Promise.all([exact.run({ x }, ["y"]), exact.run({ x }, ["y"]), exact.release()]);
    assert.deepEqual(log, [
      "first runs for y,probed",
      "first is released",
      "second runs for y,probed",
      "second runs for y,probed",
      "second is released",
    ]);
  });
});

describe("addProbe", () => {
  it("gives the probe back where products are exact", async () => {
    const graph = new Graph("test");
    graph.output("y", graph.node("Neg", [graph.input("x", [1])], [1]));
    addProbe(graph);
    const compiled = await ort.InferenceSession.create(graph.encode());
    const x = new ort.Tensor("float32", [1], [1]);
    const { y, probed } = await compiled.run({ x, probe: new ort.Tensor("float32", probe.data, probe.shape) });
    assert.deepEqual([y.data, probed.data], [Float32Array.of(-1), probe.data]);
    await compiled.release();
  });

  it("has a probe that TF32 rounds", () => {
    const [value] = probe.data;
    assert.notEqual(Math.round(value * 2 ** 10) / 2 ** 10, value);
  });

  it("is not in the graphs of a CPU", async () => {
    const graph = new Graph("test");
    graph.output("y", graph.node("Neg", [graph.input("x", [1])], [1]));
    const compiled = await createSession(graph, { device: "cpu" });
    assert.deepEqual(graph.outputNames, ["y"]);
    await compiled.release();
  });
});
