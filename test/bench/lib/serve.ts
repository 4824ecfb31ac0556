/** A subject's side of the protocol. */
import { createInterface } from "node:readline";
import type { Completion, Ready, Task } from "./protocol";

/** Says that the subject is ready, then answers tasks until standard input is closed. */
export async function serve(ready: Omit<Ready, "ready">, complete: (task: Task) => Promise<Completion>): Promise<void> {
  write({ ready: true, ...ready });
  for await (const line of createInterface({ input: process.stdin })) write(await complete(JSON.parse(line) as Task));
  process.exit(0);
}

function write(message: object): void {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}

/** Measures the parts of a start one after the other, from the process' own beginning. */
export class Phases {
  readonly ms: Record<string, number> = {};
  private last = 0;

  /** Ends the part that ran until now. `performance.now()` counts from the start of the process. */
  end(name: string): void {
    const now = performance.now();
    this.ms[name] = now - this.last;
    this.last = now;
  }
}
