/**
 * The model's thread: owns the networks and the texts inside them, answers one request at a time. A run of a network
 * blocks this thread, never the one that talks to the editor. Any error but a wrong model folder ends the thread; the
 * other side then starts it anew.
 */
import { parentPort } from "node:worker_threads";
import { UserError } from "../model-runtime/errors";
import { ForesightDrafter } from "../model-runtime/generation/foresight-drafter";
import { generate } from "../model-runtime/generation/generate";
import { createSpeculation, type Speculation } from "../model-runtime/generation/speculate";
import { StaleLatentDrafter } from "../model-runtime/generation/stale-latent-drafter";
import { encode } from "../model-runtime/ids";
import { resolveDeviceFor } from "../model-runtime/model/fastest-device";
import { latentRowsBytes } from "../model-runtime/model/latent-rows";
import { loadModel, type ModelCheckpoint, openModel } from "../model-runtime/model/load-model";
import type { LowRank } from "../model-runtime/model/low-rank";
import type { TextModel, TextState } from "../model-runtime/model/text-state";
import { CountsDrafter } from "../model-runtime/ngram/counts-drafter";
import { MixedModel } from "../model-runtime/ngram/mixed-model";
import { readAdapter } from "../model-runtime/training/adapter-file";
import { adapterBase } from "../model-runtime/training/kit";
import { createStopRule } from "./extent";
import { createConfidenceRule } from "./gate";
import type { AdapterState } from "./host-state";
import { KeptSequences } from "./kept-sequences";
import type { Mix } from "./mixed-entropies";
import { hasMemoryToSpare } from "./spare-memory";
import { TextReadings } from "./text-readings";
import type { End, FromWorker, ModelChoice, ModelRequest, ToWorker } from "./worker-protocol";
import { documentName } from "./workspace-protocol";
import { WorkspaceTexts } from "./workspace-texts";

const port = parentPort!;

interface Model {
  texts: Awaited<ReturnType<typeof loadModel>>;
  checkpoint: ModelCheckpoint;
  readings: TextReadings;
  /** Texts in the network alone, and mixed with the workspace's counts where that is switched on. */
  sequences: KeptSequences<TextState>;
  speculation: Speculation;
}

let model: Model | null = null;
const workspace = new WorkspaceTexts({ send, whenIdle });
let isMixed = false;
/** Requests in their order, each begun when the one before has ended. */
let queue: Promise<void> = Promise.resolve();
/** The end of the last request for a suggestion. */
let suggested: Promise<void> = queue;
const aborts = new Map<number, AbortController>();

port.on("message", (message: ToWorker) => {
  switch (message.type) {
    case "load":
      queue = queue.then(() => load(message.choice));
      break;
    case "complete":
    case "read": {
      const abort = new AbortController();
      aborts.set(message.id, abort);
      queue = queue.then(() =>
        message.type === "read"
          ? read(message.id, message.context, abort.signal)
          : complete(message.id, message.request, abort.signal),
      );
      if (message.type === "complete") suggested = queue;
      break;
    }
    case "adapter":
      queue = queue.then(() => swapAdapter(message.folder));
      break;
    case "abort":
      aborts.get(message.id)?.abort();
      break;
    case "unload":
      for (const abort of aborts.values()) abort.abort();
      void model?.readings.close();
      queue = queue.then(unload);
      break;
    case "workspace":
      if (message.isOn !== isMixed) {
        isMixed = message.isOn;
        if (model !== null) model.sequences = keptSequences(model.texts);
      }
      workspace.handle(message);
      break;
    case "workspaceText":
    case "filesChanged":
    case "quote":
      workspace.handle(message);
      break;
    default:
      model?.readings.handle(message);
  }
});

async function load(choice: ModelChoice): Promise<void> {
  try {
    send({ type: "loading", fraction: 0.05 });
    const checkpoint = openModel(choice.folder);
    const { device, notice } = await resolveDeviceFor(checkpoint, choice.device, choice.threads);
    send({ type: "loading", fraction: 0.2 });
    const { lowRank, ...adapter } = openAdapter(checkpoint, choice.adapter);
    const int8Rows = hasMemoryToSpare(latentRowsBytes(checkpoint, checkpoint.config.latent));
    const texts = await loadModel(checkpoint, { device, threads: choice.threads, adapter: lowRank, int8Rows });
    model = {
      texts,
      checkpoint,
      readings: new TextReadings({ model: texts, folder: choice.folder, send, whenIdle, mixFor }),
      sequences: keptSequences(texts),
      speculation: createSpeculation([
        new CountsDrafter(workspace.index),
        new ForesightDrafter(),
        new StaleLatentDrafter(),
      ]),
    };
    send({ type: "loaded", device, kernel: texts.kernels, notice, ...adapter });
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    send({ type: "refused", sentence: error.message });
    await unload();
  }
}

/** Reads an adapter for a model; one that cannot be used leaves the model as it is, with a sentence on why. */
function openAdapter(checkpoint: ModelCheckpoint, folder: string | null): AdapterState & { lowRank: LowRank | null } {
  if (folder === null) return { lowRank: null, adapter: null, adapterNotice: null };
  try {
    return { lowRank: readAdapter(folder, adapterBase(checkpoint)).lowRank, adapter: folder, adapterNotice: null };
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return { lowRank: null, adapter: null, adapterNotice: `${error.message} The model is used without it.` };
  }
}

async function swapAdapter(folder: string | null): Promise<void> {
  // The thread may have been told to end meanwhile.
  if (model === null) return;
  const { checkpoint, texts, readings } = model;
  const { lowRank, ...adapter } = openAdapter(checkpoint, folder);
  await readings.whileResting(() => texts.useAdapter(lowRank));
  send({ type: "adapted", ...adapter });
}

function mixFor(uri: string): Mix | null {
  if (!isMixed) return null;
  return {
    get version() {
      return workspace.index.version;
    },
    expect: (stretch, take) => workspace.expect(documentName(uri), stretch, take),
  };
}

function keptSequences(texts: TextModel): KeptSequences<TextState> {
  const source: TextModel = isMixed ? new MixedModel({ network: texts, workspace: workspace.index }) : texts;
  return new KeptSequences<TextState>(() => source.createText?.() ?? source.createSequence());
}

async function read(id: number, context: Uint8Array, signal: AbortSignal): Promise<void> {
  const { sequence, prompt } = model!.sequences.take(encode(context));
  const isRead = await readsAll(sequence, prompt, signal);
  aborts.delete(id);
  send({ type: "read", id, end: isRead ? "read" : "aborted", processedBytes: prompt.length });
}

/** Whether the text could take in all ids before it was aborted. What it took in stays either way. */
async function readsAll(text: TextState, ids: Uint16Array, signal: AbortSignal): Promise<boolean> {
  try {
    await text.append(ids.subarray(0, -1), { logits: "none", signal });
    await text.append(ids.subarray(-1), { signal });
    return true;
  } catch (error) {
    if (signal.aborted && error === signal.reason) return false;
    throw error;
  }
}

/** High enough for other thoughts, low enough for sense. */
const ALTERNATIVE_TEMPERATURE = 0.7;

async function complete(id: number, request: ModelRequest, signal: AbortSignal): Promise<void> {
  const { sequence, prompt, reused } = model!.sequences.take(encode(request.context));
  if (isMixed && request.around !== undefined) workspace.cut(request.around);
  const isEnough = createStopRule(request.extent);
  const isUnsure = createConfidenceRule(request.minConfidence);
  const { maxBytes, alternative } = request;
  const bytes = generate(sequence, prompt, {
    temperature: alternative === 0 ? 0 : ALTERNATIVE_TEMPERATURE,
    seed: alternative,
    maxBytes,
    signal,
    speculation: model!.speculation,
  });
  let deadline = Number.POSITIVE_INFINITY;
  let end: End | null = null;
  while (end === null) {
    const step = await bytes.next();
    if (step.done) {
      // No stop strings and no time limit were given to it.
      end = step.value as Exclude<typeof step.value, "stop">;
    } else if (isEnough(step.value.byte)) {
      end = "rule";
    } else {
      const { byte, logProb } = step.value;
      send({ type: "byte", id, byte, logProb });
      if (isUnsure(logProb)) end = "unsure";
      deadline = Math.min(deadline, performance.now() + request.timeLimitMs);
      if (end === null && performance.now() >= deadline) end = "time";
    }
  }
  await bytes.return("aborted");
  aborts.delete(id);
  send({ type: "done", id, end, processedBytes: prompt.length, reusedBytes: reused });
}

/** Resolves when no suggestion runs or waits. */
async function whenIdle(): Promise<void> {
  for (let seen: Promise<void> | null = null; seen !== suggested; ) {
    seen = suggested;
    await seen;
  }
}

async function unload(): Promise<void> {
  const loaded = model;
  model = null;
  await workspace.close();
  await loaded?.readings.close();
  await loaded?.texts.release();
  port.close();
}

function send(message: FromWorker): void {
  port.postMessage(message);
}
