/** Threads of the server. */
import { extname, join } from "node:path";
import { SHARE_ENV, Worker } from "node:worker_threads";

/** Starts a thread from the file of this name: beside this one, whether that is the bundle or the source. */
export function startThread(name: string): Worker {
  const file = join(__dirname, `${name}${extname(__filename)}`);
  // Native code sees the process's environment only, and some of it is set for onnxruntime (`no-telemetry.ts`).
  const worker = new Worker(file, { stdout: true, env: SHARE_ENV });
  // What it prints must not get between the messages.
  worker.stdout.pipe(process.stderr);
  return worker;
}
