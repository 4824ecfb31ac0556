/**
 * The process that fine-tunes: forked by the server, at low priority, told what to do over Node's own channel and
 * over nothing else. When the channel closes (the window was closed, the server ended) it keeps its state and ends.
 */
import { setPriority } from "node:os";
import { resolveDevice } from "../model-runtime/session";
import { fineTuneDefaults } from "../model-runtime/training/defaults";
import { fineTune, runErrorSentence } from "../model-runtime/training/finetune";
import { targetKinds } from "../model-runtime/training/kit";
import { takeFolder } from "../model-runtime/training/run-files";
import type { FromProcess, ToProcess } from "./finetune-protocol";

type Start = Extract<ToProcess, { type: "start" }>;

const abort = new AbortController();
let isEnough = false;
/** Resolves when the run is to go on; null while it does. */
let paused: { promise: Promise<void>; resolve: () => void } | null = null;

process.on("message", (message: ToProcess) => {
  switch (message.type) {
    case "start":
      void run(message);
      break;
    case "pause":
      setPaused(message.isPaused);
      break;
    case "finish":
      isEnough = true;
      setPaused(false);
      break;
  }
});
process.on("disconnect", stop);
process.on("SIGTERM", stop);

function stop(): void {
  abort.abort();
  setPaused(false);
}

function setPaused(isPaused: boolean): void {
  if (!isPaused) {
    paused?.resolve();
    paused = null;
  } else if (paused === null) {
    let resolve!: () => void;
    const promise = new Promise<void>((done) => {
      resolve = done;
    });
    paused = { promise, resolve };
  }
}

async function run({ lockFolder, minutes, device, priority, ...given }: Start): Promise<void> {
  // Before any thread of onnxruntime exists: on Linux each thread has the priority of the one that made it.
  setPriority(priority);
  let release: (() => void) | null = null;
  try {
    release = lockFolder === null ? null : takeFolder(lockFolder);
    const report = await fineTune(
      {
        ...given,
        minutes,
        steps: null,
        rank: fineTuneDefaults.rank,
        alpha: 2 * fineTuneDefaults.rank,
        rate: fineTuneDefaults.rate,
        seed: 0,
        targets: targetKinds,
        layers: null,
        labelSmoothing: 0,
        device: (await resolveDevice(device)).device,
      },
      {
        onEvent: send,
        signal: abort.signal,
        whilePaused: () => paused?.promise ?? Promise.resolve(),
        isEnough: () => isEnough,
      },
    );
    send(report === null ? { type: "stopped" } : { type: "report", report });
  } catch (error) {
    const sentence = runErrorSentence(error);
    if (abort.signal.aborted && error === abort.signal.reason) send({ type: "stopped" });
    else if (sentence !== null) send({ type: "failed", sentence });
    // Any other error is a defect: it ends the process, and the server logs it.
    else throw error;
  } finally {
    release?.();
  }
  // Lets the message go out first.
  if (process.connected) process.disconnect();
}

function send(message: FromProcess): void {
  if (process.connected) process.send!(message);
}
