/**
 * The model as the LSP thread sees it: started, restarted, freed; one request in flight, a newer one makes it stale.
 * It never throws: what goes wrong is a state with a sentence, and the requests it costs end as `failed`.
 */
import type { HostState } from "./host-state";
import type { FromReadings, ToReadings } from "./readings-protocol";
import type { End, FromWorker, ModelChoice, ModelRequest, ToWorker } from "./worker-protocol";
import type { FromWorkspace, ToWorkspace } from "./workspace-protocol";

/** What is needed of a `Worker`. */
export interface WorkerLike {
  postMessage(message: ToWorker): void;
  on(event: "message", listener: (message: FromWorker) => void): unknown;
  on(event: "error", listener: (error: Error) => void): unknown;
  on(event: "exit", listener: (code: number) => void): unknown;
  terminate(): Promise<number>;
}

export interface ModelHostOptions {
  startWorker(): WorkerLike;
  /** Told of every change. */
  onState(state: HostState): void;
  /** Told what the model says about texts that are looked at. */
  onReading?(message: FromReadings): void;
  /** Told what is known of the workspace's texts. */
  onWorkspace?(message: FromWorkspace): void;
  log(line: string): void;
  /** Pause before each restart, ms; as many restarts in a row as there are pauses. */
  backOffMs?: readonly number[];
}

/** The bytes of a suggestion. */
export interface Written {
  bytes: Uint8Array;
  /** Nats, one for each byte. */
  logProbs: Float64Array;
}

export interface JobResult extends Written {
  /** `read` of a context that was only read. */
  end: End | "read" | "failed";
}

/** A request that runs or waits for the model. */
export interface Job {
  readonly done: Promise<JobResult>;
  /** What has been written until now. */
  soFar(): Written;
  /** Ends it as `aborted` at once; the model stops before its next run. */
  abort(): void;
}

const DEFAULT_BACK_OFF_MS = [500, 2000, 5000];
/** How long a worker may take to end by itself, ms. */
const PATIENCE_MS = 3000;

export class ModelHost {
  private choice: ModelChoice | null = null;
  private worker: { handle: WorkerLike; isEnding: boolean } | null = null;
  private isLoaded = false;
  /** Whether a worker is to be started as soon as the last one has ended. */
  private isWanted = false;
  private current: RunningJob | null = null;
  private nextId = 1;
  private failuresInARow = 0;
  private lastError: Error | null = null;
  private restartTimer: NodeJS.Timeout | undefined;
  private idleTimer: NodeJS.Timeout | undefined;
  private idleMs = 0;
  private onEnded: (() => void) | null = null;
  private stateNow: HostState = { kind: "unloaded" };
  /** Requests that nobody waits for and whose end is to come. */
  private readonly idsAhead = new Set<number>();
  /** Context bytes read and still known, of all requests that somebody waits for; and those read ahead. */
  readonly counters = { processedBytes: 0, reusedBytes: 0, aheadBytes: 0 };

  constructor(private readonly options: ModelHostOptions) {}

  get state(): HostState {
    return this.stateNow;
  }

  /**
   * Loads the chosen model in place of the one before; a choice equal to the last one changes nothing, and one that
   * differs in the adapter alone swaps that and keeps the texts.
   */
  use(choice: ModelChoice): void {
    if (this.choice === null || !isSame(this.choice, choice) || this.stateNow.kind === "problem") {
      this.restart(choice);
      return;
    }
    const isOther = this.choice.adapter !== choice.adapter;
    this.choice = choice;
    if (isOther && this.worker?.isEnding === false) {
      // What runs is written by the model as it was.
      this.current?.abort();
      this.worker.handle.postMessage({ type: "adapter", folder: choice.adapter });
    }
  }

  /** Frees the model and states why there is none. */
  refuse(sentence: string): void {
    this.choice = null;
    this.end();
    this.setState({ kind: "problem", sentence });
  }

  /** Loads the model anew and forgets earlier failures. */
  restart(choice: ModelChoice): void {
    this.choice = choice;
    this.failuresInARow = 0;
    this.end();
    this.isWanted = true;
    this.setState({ kind: "loading", fraction: 0 });
    this.start();
  }

  /** Frees the model until the next request. */
  unload(): void {
    if (this.choice === null || this.stateNow.kind === "problem") return;
    this.end();
    this.setState({ kind: "unloaded" });
  }

  /** Frees the model when there was no request for so long, ms; 0 never. */
  unloadAfter(idleMs: number): void {
    this.idleMs = idleMs;
    this.watchIdleness();
  }

  /** Ends everything; resolves when the thread has ended. */
  async dispose(): Promise<void> {
    clearTimeout(this.idleTimer);
    this.end();
    if (this.worker === null) return;
    await new Promise<void>((resolve) => {
      this.onEnded = resolve;
    });
  }

  /** Begins a request, when the model is loaded; the one before is aborted. */
  complete(request: ModelRequest): Job {
    this.current?.abort();
    const job = new RunningJob({ type: "complete", id: this.nextId++, request }, () => this.abandon(job));
    if (request.isAhead) this.idsAhead.add(job.id);
    if (this.stateNow.kind === "problem") {
      job.finish("failed");
      return job;
    }
    this.current = job;
    this.watchIdleness();
    if (this.isLoaded) this.begin(job);
    else this.wake();
    return job;
  }

  /** Reads a context ahead of the request for it; ends at once as `aborted` while there is anything else to do. */
  read(context: Uint8Array): Job {
    const job = new RunningJob({ type: "read", id: this.nextId++, context }, () => this.abandon(job));
    if (this.current !== null || (!this.isLoaded && this.stateNow.kind !== "loading")) {
      job.finish("aborted");
      return job;
    }
    this.current = job;
    if (this.isLoaded) this.begin(job);
    return job;
  }

  /** Loads the model if it was freed. */
  wake(): void {
    if (this.stateNow.kind !== "unloaded") return;
    this.isWanted = true;
    this.setState({ kind: "loading", fraction: 0 });
    this.start();
  }

  /** Tells the model about a text that is looked at; false when none is loaded, and it must be told again then. */
  tell(message: ToReadings): boolean {
    this.watchIdleness();
    if (!this.isLoaded) return false;
    this.worker!.handle.postMessage(message);
    return true;
  }

  /** Tells the model's thread about the workspace; false when none is loaded, and it must be told again then. */
  tellWorkspace(message: ToWorkspace): boolean {
    if (!this.isLoaded) return false;
    this.worker!.handle.postMessage(message);
    return true;
  }

  private begin(job: RunningJob): void {
    this.worker!.handle.postMessage(job.message);
    if (job.message.type === "complete" && this.stateNow.kind === "ready")
      this.setState({ ...this.stateNow, kind: "working" });
  }

  private abandon(job: RunningJob): void {
    if (this.current !== job) return;
    this.current = null;
    if (this.isLoaded) this.worker?.handle.postMessage({ type: "abort", id: job.id });
    if (this.stateNow.kind === "working") this.setState({ ...this.stateNow, kind: "ready" });
  }

  private start(): void {
    if (this.worker !== null || !this.isWanted || this.choice === null) return;
    this.lastError = null;
    const handle = this.options.startWorker();
    const worker = { handle, isEnding: false };
    this.worker = worker;
    handle.on("message", (message) => {
      if (this.worker === worker && !worker.isEnding) this.receive(message);
    });
    handle.on("error", (error) => {
      this.lastError = error;
    });
    handle.on("exit", (code) => {
      if (this.worker === worker) this.ended(worker.isEnding, code);
    });
    handle.postMessage({ type: "load", choice: this.choice });
  }

  private end(): void {
    clearTimeout(this.restartTimer);
    this.isWanted = false;
    this.isLoaded = false;
    const job = this.current;
    this.current = null;
    job?.finish("aborted");
    const { worker } = this;
    if (worker === null || worker.isEnding) return;
    worker.isEnding = true;
    worker.handle.postMessage({ type: "unload" });
    const killer = setTimeout(() => void worker.handle.terminate(), PATIENCE_MS);
    worker.handle.on("exit", () => clearTimeout(killer));
  }

  private receive(message: FromWorker): void {
    switch (message.type) {
      case "loading":
        this.setState({ kind: "loading", fraction: message.fraction });
        break;
      case "loaded": {
        const { type, ...loaded } = message;
        this.isLoaded = true;
        this.setState({ kind: "ready", ...loaded });
        if (this.current !== null) this.begin(this.current);
        break;
      }
      case "adapted": {
        const { adapter, adapterNotice } = message;
        if ("device" in this.stateNow) this.setState({ ...this.stateNow, adapter, adapterNotice });
        break;
      }
      case "refused": {
        const job = this.current;
        this.current = null;
        job?.finish("failed");
        this.end();
        this.setState({ kind: "problem", sentence: message.sentence });
        break;
      }
      case "lines":
      case "settled":
      case "unreadable":
      case "answer":
        this.options.onReading?.(message);
        break;
      case "counted":
      case "quoted":
        this.options.onWorkspace?.(message);
        break;
      case "byte":
        if (this.current?.id === message.id) this.current.write(message.byte, message.logProb);
        break;
      case "read":
        this.counters.aheadBytes += message.processedBytes;
        if (this.current?.id === message.id) this.finish(this.current, message.end);
        break;
      case "done":
        this.failuresInARow = 0;
        if (this.idsAhead.delete(message.id)) {
          this.counters.aheadBytes += message.processedBytes;
        } else {
          this.counters.processedBytes += message.processedBytes;
          this.counters.reusedBytes += message.reusedBytes;
        }
        if (this.current?.id === message.id) this.finish(this.current, message.end);
        break;
    }
  }

  private finish(job: RunningJob, end: JobResult["end"]): void {
    this.current = null;
    if (this.stateNow.kind === "working") this.setState({ ...this.stateNow, kind: "ready" });
    job.finish(end);
  }

  /** The worker's thread has ended, by request or not. */
  private ended(isExpected: boolean, code: number): void {
    this.worker = null;
    this.isLoaded = false;
    this.onEnded?.();
    if (isExpected) {
      this.start();
      return;
    }
    const job = this.current;
    this.current = null;
    job?.finish("failed");
    const error = this.lastError;
    this.options.log(`The model's thread ended with code ${code}: ${error?.stack ?? "no error was reported"}`);
    if (error !== null && isOutOfMemory(error)) {
      this.isWanted = false;
      this.setState({
        kind: "problem",
        sentence: `There is not enough memory for the model in ${this.choice?.folder}; close other programs or choose a smaller model, then restart the model.`,
      });
      return;
    }
    const pauses = this.options.backOffMs ?? DEFAULT_BACK_OFF_MS;
    if (this.failuresInARow >= pauses.length) {
      this.isWanted = false;
      const cause = error === null ? `code ${code}` : firstLine(error.message);
      this.setState({
        kind: "problem",
        sentence: `The model stopped ${pauses.length + 1} times in a row (${cause}) and is not started again by itself; restart the model, or choose another one.`,
      });
      return;
    }
    const pause = pauses[this.failuresInARow++];
    this.isWanted = true;
    this.setState({ kind: "loading", fraction: 0 });
    this.restartTimer = setTimeout(() => this.start(), pause);
  }

  private watchIdleness(): void {
    clearTimeout(this.idleTimer);
    if (this.idleMs <= 0) return;
    this.idleTimer = setTimeout(() => this.unload(), this.idleMs);
    this.idleTimer.unref();
  }

  private setState(state: HostState): void {
    this.stateNow = state;
    this.options.onState(state);
  }
}

class RunningJob implements Job {
  readonly done: Promise<JobResult>;
  private readonly bytes: number[] = [];
  private readonly logProbs: number[] = [];
  private resolve!: (result: JobResult) => void;

  constructor(
    readonly message: Extract<ToWorker, { type: "complete" | "read" }>,
    private readonly onAbort: () => void,
  ) {
    this.done = new Promise((resolve) => {
      this.resolve = resolve;
    });
  }

  get id(): number {
    return this.message.id;
  }

  abort(): void {
    this.onAbort();
    this.finish("aborted");
  }

  write(byte: number, logProb: number): void {
    this.bytes.push(byte);
    this.logProbs.push(logProb);
  }

  finish(end: JobResult["end"]): void {
    this.resolve({ end, ...this.soFar() });
  }

  soFar(): Written {
    return { bytes: Uint8Array.from(this.bytes), logProbs: Float64Array.from(this.logProbs) };
  }
}

/** JavaScript's heap, an array, and what onnxruntime says when it gets no memory. */
function isOutOfMemory(error: Error): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return (
    code === "ERR_WORKER_OUT_OF_MEMORY" ||
    /bad_alloc|allocation failed|failed to allocate|out of memory|not enough memory/i.test(error.message)
  );
}

function firstLine(text: string): string {
  return text.split("\n")[0];
}

function isSame(a: ModelChoice, b: ModelChoice): boolean {
  return a.folder === b.folder && a.device === b.device && a.threads === b.threads;
}
