import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildSync } from "esbuild";
import { cudaLibraryProblem, keepFloat32Exact, providerReason } from "../../model-runtime/device";
import { Graph } from "../../model-runtime/graph/graph";
import { createSession, createSessionLater, type DeviceChoice, resolveDevice } from "../../model-runtime/session";

const root = join(__dirname, "../..");

describe("createSession", () => {
  it("runs a graph on float and whole-number inputs", async () => {
    const graph = new Graph("test");
    const x = graph.input("x", ["N", 3]);
    const lengths = graph.input("lengths", [2], "int64");
    const [head, tail] = graph.nodes(
      "Split",
      [x, lengths],
      [
        ["N", "A"],
        ["N", "B"],
      ],
      { attributes: { axis: 1 } },
    );
    graph.output("head", graph.node("Mul", [head, graph.float32([10])], head.shape));
    graph.output("tail", tail);
    const session = await createSession(graph, { device: "cpu" });
    const outputs = await session.run({
      x: { data: Float32Array.of(1, 2, 3, 4, 5, 6), shape: [2, 3] },
      lengths: { data: BigInt64Array.of(1n, 2n), shape: [2] },
    });
    assert.deepEqual([...outputs.head], [10, 40]);
    assert.deepEqual([...outputs.tail], [2, 3, 5, 6]);
    await session.release();
  });

  it("does not begin a run whose signal is aborted", async () => {
    const graph = new Graph("test");
    graph.output("y", graph.node("Neg", [graph.input("x", [1])], [1]));
    const session = await createSession(graph, { device: "cpu" });
    const run = session.run({ x: { data: Float32Array.of(1), shape: [1] } }, AbortSignal.abort());
    await assert.rejects(run, { name: "AbortError" });
    await session.release();
  });
});

describe("createSessionLater", () => {
  it("compiles a graph when it is first run, once", async () => {
    const graph = new Graph("test");
    graph.output("y", graph.node("Neg", [graph.input("x", [1])], [1]));
    let compiled = 0;
    const encode = graph.encode.bind(graph);
    graph.encode = () => {
      compiled++;
      return encode();
    };
    const session = createSessionLater(() => graph, { device: "cpu" });
    assert.equal(compiled, 0);
    const x = { data: Float32Array.of(1), shape: [1] };
    await assert.rejects(session.run({ x }, AbortSignal.abort()), { name: "AbortError" });
    const runs = await Promise.all([session.run({ x }), session.run({ x })]);
    assert.deepEqual([compiled, ...runs.map(({ y }) => y[0])], [1, -1, -1]);
    await session.release();
  });

  it("may be released without ever having run", () =>
    createSessionLater(() => new Graph("test"), { device: "cpu" }).release());
});

describe("resolveDevice", () => {
  it("cpu needs no word", async () => {
    assert.deepEqual(await resolveDevice("cpu"), { device: "cpu", notice: null });
  });

  const foreign = process.platform === "win32" ? "coreml" : "dml";
  it(`${foreign}, which this platform has not, gives one sentence and the CPU`, async () => {
    const { device, notice } = await resolveDevice(foreign);
    assert.equal(device, "cpu");
    assert.equal(
      notice,
      `Device ${foreign} cannot be used: this build of onnxruntime has no ${foreign} provider for ${process.platform} ${process.arch}; the CPU is used instead.`,
    );
  });

  it("cuda without its library says what is missing", async () => {
    const problem = cudaLibraryProblem(join(root, "test"));
    assert.match(problem ?? "", /^onnxruntime's CUDA provider is no part of the package: put \S+ into \S+$/);
  });
});

describe("providerReason", () => {
  it("is what the driver said, without the source that heard it", () => {
    const message =
      "/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc:141 bool onnxruntime::CudaCall(ERRTYPE, const char*) " +
      "[with ERRTYPE = cudaError; bool THRW = true; SUCCTYPE = cudaError] CUDA failure 35: CUDA driver version is " +
      "insufficient for CUDA runtime version ; GPU=-1 ; hostname=vm ; file=/onnxruntime_src/cuda_execution_provider.cc ; line=345";
    assert.equal(providerReason(message), "CUDA driver version is insufficient for CUDA runtime version");
  });

  it("is the last clause otherwise", () => {
    assert.equal(providerReason("webgpu.cc:12 Init status.IsOK() was false. No adapter found.\n"), "No adapter found");
  });
});

describe("keepFloat32Exact", () => {
  it("asks for exact products, unless the user has chosen", () => {
    const [unset, chosen]: NodeJS.ProcessEnv[] = [{}, { NVIDIA_TF32_OVERRIDE: "1" }];
    assert.deepEqual([keepFloat32Exact(unset), keepFloat32Exact(chosen)], [true, false]);
    assert.deepEqual([unset, chosen], [{ NVIDIA_TF32_OVERRIDE: "0" }, { NVIDIA_TF32_OVERRIDE: "1" }]);
  });
});

/** What `resolveDevice` says in a process whose onnxruntime has the CUDA provider beside it. */
function resolveWithCudaProvider(asked: string): { choice: DeviceChoice; stderr: string } {
  const folder = mkdtempSync(join(root, ".cache/cuda/run-"));
  try {
    buildSync({
      stdin: {
        contents: `import { resolveDevice } from "./model-runtime/session";
          resolveDevice(${JSON.stringify(asked)}).then((choice) => console.log(JSON.stringify(choice)));`,
        resolveDir: root,
        loader: "ts",
      },
      bundle: true,
      platform: "node",
      external: ["onnxruntime-node"],
      outfile: join(folder, "resolve.js"),
    });
    const stdout = execFileSync(process.execPath, [join(folder, "resolve.js")], { encoding: "utf8", cwd: tmpdir() });
    return { choice: JSON.parse(stdout), stderr: "" };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

describe("the CUDA provider, loaded for real", function () {
  this.timeout(300000);
  const gpu = hasGpu();
  before(function () {
    if (process.platform !== "linux" || process.arch !== "x64") this.skip();
    execFileSync(join(root, "test/tools/fetch-cuda-provider.sh"), { stdio: "ignore" });
  });

  it(gpu ? "is used" : "is refused with the loader's reason where there is no GPU, and the CPU is used", () => {
    const { choice } = resolveWithCudaProvider("cuda");
    if (gpu) assert.deepEqual(choice, { device: "cuda", notice: null });
    else {
      assert.equal(choice.device, "cpu");
      assert.match(
        choice.notice ?? "",
        /^Device cuda cannot be used: (libcu\S+ was not found \(the CUDA 13 libraries are needed\)|[^\n]*device[^\n]*); the CPU is used instead\.$/,
      );
    }
  });

  it("is tried silently by auto", () => {
    const { choice } = resolveWithCudaProvider("auto");
    assert.deepEqual(choice, { device: gpu ? "cuda" : "cpu", notice: null });
  });
});

function hasGpu(): boolean {
  try {
    execFileSync("nvidia-smi", { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}
