/** A child process under measurement, seen from the benchmark: it works only while it is asked to. */
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { coreMs, memoryOf, type ProcessMemory, processMs } from "./processes";
import type { Completion, Ready, Task } from "./protocol";

export interface SubjectCommand {
  name: string;
  command: string;
  arguments: string[];
  /** Longest prompt in bytes that is worth the wait. */
  longestPrompt: number;
  /** Variables beside those of this process. */
  environment?: Record<string, string>;
}

export interface Start {
  ready: Ready;
  /** From spawning the process to its first prediction. */
  ms: number;
}

/** A measured task, with the share of the cores that other processes used meanwhile: 0..1, NaN where it is unknown. */
export type Measured = Completion & { disturbance: number };

export class Subject {
  /** Lines of the child that nobody has asked for yet, and who waits for one. */
  private readonly lines: string[] = [];
  private waiting: { resolve: (line: string) => void; reject: (error: Error) => void } | null = null;
  private failure: Error | null = null;

  private constructor(
    readonly name: string,
    private readonly child: ChildProcess,
  ) {
    let log = "";
    child.stderr!.on("data", (text) => (log = (log + text).slice(-2000)));
    createInterface({ input: child.stdout! }).on("line", (line) => {
      if (line.startsWith("{")) this.take(line);
    });
    for (const source of [child, child.stdin!]) source.on("error", (error: Error) => this.fail(error));
    child.on("exit", (code, signal) => this.fail(new Error(`${name} ended with ${signal ?? `code ${code}`}:\n${log}`)));
  }

  /** Starts the process and waits for its first prediction. */
  static async start({
    name,
    command,
    arguments: words,
    environment,
  }: SubjectCommand): Promise<{ subject: Subject; start: Start }> {
    const from = performance.now();
    const subject = new Subject(
      name,
      spawn(command, words, { stdio: ["pipe", "pipe", "pipe"], env: { ...process.env, ...environment } }),
    );
    const ready = JSON.parse(await subject.nextLine()) as Ready;
    return { subject, start: { ready, ms: performance.now() - from } };
  }

  async complete(task: Task): Promise<Measured> {
    const before = { cores: coreMs(), own: processMs(this.child.pid!) };
    this.child.stdin!.write(`${JSON.stringify(task)}\n`);
    const completion = JSON.parse(await this.nextLine()) as Completion;
    const [all, busy] = [coreMs().all - before.cores.all, coreMs().busy - before.cores.busy];
    const own = processMs(this.child.pid!) - before.own;
    return { ...completion, disturbance: Math.max(0, busy - own) / all };
  }

  memory(): ProcessMemory | null {
    return memoryOf(this.child.pid!);
  }

  /** Lets the process end. */
  stop(): Promise<void> {
    const ended = new Promise<void>((resolve) => this.child.once("exit", () => resolve()));
    this.child.stdin!.end();
    return this.failure ? Promise.resolve() : ended;
  }

  private nextLine(): Promise<string> {
    const line = this.lines.shift();
    if (line !== undefined) return Promise.resolve(line);
    if (this.failure) return Promise.reject(this.failure);
    return new Promise((resolve, reject) => {
      this.waiting = { resolve, reject };
    });
  }

  private take(line: string): void {
    const { waiting } = this;
    this.waiting = null;
    if (waiting) waiting.resolve(line);
    else this.lines.push(line);
  }

  private fail(error: Error): void {
    this.failure ??= error;
    this.waiting?.reject(this.failure);
    this.waiting = null;
  }
}
