/** The only door to onnxruntime: compiles graphs for a device and runs them. */
import "./no-telemetry";
import * as ort from "onnxruntime-node";
import { cudaLibraryProblem, type Device, keepFloat32Exact, providerReason, type ResolvedDevice } from "./device";
import { addProbe, type Compiled, ExactSession, probe } from "./exact-session";
import { Graph } from "./graph/graph";

/** Inputs of a run by name. Data is handed over without a copy and must not change before the run ends. */
export type Feeds = Record<string, { data: Float32Array | BigInt64Array; shape: number[] }>;

export interface SessionOptions {
  /** A device that is known to work (`resolveDevice`). */
  device: ResolvedDevice;
  /** Threads of one operator; onnxruntime's own choice when undefined. */
  threads?: number;
  /** A file that the graph's weights lie in, where it is in memory; onnxruntime keeps what it needs of it. */
  file?: { path: string; data: Uint8Array };
}

/** A compiled graph. */
export interface Session {
  /** Runs the graph; stops before it starts when the signal is aborted. */
  run(feeds: Feeds, signal?: AbortSignal): Promise<Record<string, Float32Array>>;
  release(): Promise<void>;
}

/** Compiles a graph; weights are mapped from the graph's folder. */
export async function createSession(graph: Graph, options: SessionOptions): Promise<Session> {
  const { outputNames } = graph;
  if (options.device !== "cuda" || !keepFloat32Exact())
    return sessionOf(await compile(graph.encode(), graph.weightFolder, options), outputNames);
  addProbe(graph);
  const model = graph.encode();
  const compileAgain = () => compile(model, graph.weightFolder, options);
  return sessionOf(new ExactSession(await compileAgain(), compileAgain, tensorOf(probe)), outputNames);
}

function compile(
  model: Uint8Array,
  weightFolder: string | null,
  options: SessionOptions,
): Promise<Compiled<ort.Tensor>> {
  const { file } = options;
  return ort.InferenceSession.create(model, {
    ...sessionOptions(options),
    ...(file ? { externalData: [file] } : {}),
    extra: {
      session: {
        ...(weightFolder && !file ? { model_external_initializers_file_folder_path: weightFolder } : {}),
        // Each network has threads of its own, which would go on spinning on the cores that the next network needs.
        force_spinning_stop: "1",
      },
    },
  });
}

/** Holds nothing but what is compiled: what it was compiled from may be large. */
function sessionOf(session: Compiled<ort.Tensor>, outputNames: readonly string[]): Session {
  return {
    async run(feeds, signal) {
      signal?.throwIfAborted();
      const tensors: Record<string, ort.Tensor> = {};
      for (const name in feeds) tensors[name] = tensorOf(feeds[name]);
      const results = await session.run(tensors, outputNames);
      const outputs: Record<string, Float32Array> = {};
      for (const name of outputNames) outputs[name] = results[name].data as Float32Array;
      return outputs;
    },
    release: () => session.release(),
  };
}

function tensorOf({ data, shape }: Feeds[string]): ort.Tensor {
  return new ort.Tensor(data instanceof Float32Array ? "float32" : "int64", data as Float32Array, shape);
}

/** A graph that is compiled when it is first run. */
export function createSessionLater(graph: () => Graph, options: SessionOptions): Session {
  let session: Promise<Session> | null = null;
  return {
    async run(feeds, signal) {
      signal?.throwIfAborted();
      session ??= createSession(graph(), options).catch((error) => {
        // To be tried again at the next run.
        session = null;
        throw error;
      });
      return (await session).run(feeds, signal);
    },
    release: async () => (await session)?.release(),
  };
}

export interface DeviceChoice {
  device: ResolvedDevice;
  /** One sentence for the user when the device asked for cannot be used and the CPU takes over; else null. */
  notice: string | null;
}

/** Finds out whether a device works, by loading its provider; falls back to the CPU. `auto` is CUDA where it works. */
export async function resolveDevice(asked: Device): Promise<DeviceChoice> {
  if (asked === "cpu") return { device: "cpu", notice: null };
  const device = asked === "auto" ? "cuda" : asked;
  const reason = await deviceProblem(device);
  if (reason === null) return { device, notice: null };
  const notice = `Device ${device} cannot be used: ${reason}; the CPU is used instead.`;
  return { device: "cpu", notice: asked === "auto" ? null : notice };
}

async function deviceProblem(device: Exclude<ResolvedDevice, "cpu">): Promise<string | null> {
  // onnxruntime drops an unknown provider with a line on the console, so it is not asked for one.
  if (!ort.listSupportedBackends().some(({ name }) => name === device))
    return `this build of onnxruntime has no ${device} provider for ${process.platform} ${process.arch}`;
  if (device === "cuda") keepFloat32Exact();
  const missing = device === "cuda" ? cudaLibraryProblem() : null;
  if (missing !== null) return missing;
  const graph = new Graph("probe");
  graph.output("y", graph.node("Add", [graph.input("x", [1]), graph.float32([1])], [1]));
  try {
    const session = await createSession(graph, { device });
    const { y } = await session.run({ x: { data: Float32Array.of(1), shape: [1] } });
    await session.release();
    return y[0] === 2 ? null : "it computed 1 + 1 wrongly";
  } catch (error) {
    return providerReason((error as Error).message);
  }
}

function sessionOptions({ device, threads }: SessionOptions): ort.InferenceSession.SessionOptions {
  return {
    executionProviders: device === "cpu" ? ["cpu"] : [device, "cpu"],
    ...(threads === undefined ? {} : { intraOpNumThreads: threads }),
    interOpNumThreads: 1,
    // Shapes change from run to run, so plans made for one shape only cost memory.
    enableMemPattern: false,
    // Fatal only: what fails is reported by the error that is thrown.
    logSeverityLevel: 4,
  };
}
