/** Threads of the server. */
import { extname, join } from "node:path";
import { Worker } from "node:worker_threads";

/** Starts a thread from the file of this name: beside this one, whether that is the bundle or the source. */
export function startThread(name: string): Worker {
  const worker = new Worker(join(__dirname, `${name}${extname(__filename)}`), { stdout: true });
  // What it prints must not get between the messages.
  worker.stdout.pipe(process.stderr);
  return worker;
}
