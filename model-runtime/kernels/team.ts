/**
 * Threads that work through the parts of one product, or of one attention, together. The thread that runs a network leads: it writes
 * down a job, takes parts of it like every helper, and goes on when all parts are done. A helper that the system has put aside
 * takes none, and nobody waits for it unless it was stopped amid a part.
 *
 * The job's fields are only read by who has taken a part: a ticket, job number and next part in one word, is exchanged for the next
 * one, which fails when the job has changed since it was read. A job is over when no part is out, and then its ticket is closed
 * before the next job's fields are written.
 */
import { SHARE_ENV, Worker } from "node:worker_threads";
import {
  atomic,
  call,
  define,
  drop,
  during,
  type I32,
  i32,
  type Local,
  type Statement,
  type WasmFunction,
  when,
} from "./assembler";

/** Addresses of what the threads share, those that change often a line of the cache each. */
const TICKET = 0;
const DONE = 64;
const KIND = 128;
const PARTS = 132;
const VALUES = 140;
/** Jobs that are done without the helpers from now on. */
const ALONE = 144;
/** How many shares what is left of a job is divided into. */
const SHARE = 136;
/** Not zero while a network is being run. */
const ACTIVE = 192;
const WAKE = 196;
/** What lies behind these is free. */
export const TEAM_BYTES = 256;

/** The lower bits of a ticket, the next part; all set where it is closed. */
const PART_BITS = 12;
const PART_MASK = 2 ** PART_BITS - 1;
/** Parts that a job may have for several threads to share it. */
export const MOST_PARTS = PART_MASK - 1;
const SHARES_A_THREAD = 2;
/** How often a helper looks for work after a run before it sleeps: some 0.2 ms, in which the next network often begins. */
const LOOKS = 20_000;

/**
 * How often a leader looks whether the helpers are done, some 3 ms, before it takes it that other work has their cores: the system then
 * stops a helper amid its part again and again, for milliseconds each time. It does so many jobs alone then, some steps of a network.
 */
const PATIENCE = 6_000_000;
const JOBS_ALONE = 500;

/**
 * What leader and helpers run.
 * @param jobs functions (address of arguments, first part, number of parts) that lie first in the module, in this order
 * @param patience how often a leader looks whether the helpers are done before it works alone for a while
 */
export function teamFunctions(jobs: readonly WasmFunction[], patience = PATIENCE): WasmFunction[] {
  const doParts = (kind: Local<"i32">, values: I32, part: I32, count: I32): Statement[] =>
    jobs.map((_, i) => when(i32.equal(kind, i32.const(i)), call(i, "none", values, part, count)));

  /** Does all of a job without the others. */
  const doAlone = define("doAlone", leadParameters, "none", ({ kind, values, parts }) =>
    doParts(kind, values, i32.const(0), parts),
  );

  /** Takes some of the parts that are left and does them; `count` is then how many, 0 where another thread was quicker. */
  const takeParts = (ticket: I32, [part, count, kind]: readonly Local<"i32">[]): Statement[] => {
    const left = i32.sub(i32.load(i32.const(PARTS)), part);
    const share = i32.load(i32.const(SHARE));
    // Large shares are read in long stretches of memory, and the last ones are small, so that all threads end together.
    const wanted = i32.div(i32.sub(i32.add(left, share), i32.const(1)), share);
    return [
      count.set(wanted),
      when(
        i32.notEqual(atomic.exchange(i32.const(TICKET), ticket, i32.add(ticket, count)), ticket),
        count.set(i32.const(0)),
      ),
      when(count, kind.set(i32.load(i32.const(KIND))), ...doParts(kind, i32.load(i32.const(VALUES)), part, count)),
    ];
  };
  const partOf = (ticket: I32) => i32.and(ticket, i32.const(PART_MASK));

  /** Works through all parts of a job. */
  const lead = define("lead", leadParameters, "none", ({ kind, values, parts }, local) => {
    const [ticket, part, count, own, alone, looks] = [0, 1, 2, 3, 4, 5].map(() => local("i32"));
    return [
      alone.set(i32.load(i32.const(ALONE))),
      when(
        alone,
        i32.store(i32.const(ALONE), i32.sub(alone, i32.const(1))),
        ...doParts(kind, values, i32.const(0), parts),
        parts.set(i32.const(0)),
      ),
      when(
        parts,
        i32.store(i32.const(KIND), kind),
        i32.store(i32.const(VALUES), values),
        // Not before all see the last job's ticket closed: a processor may let others see plain writes in another order (ARM), and
        // with more parts than before the old ticket would look as if some were left.
        atomic.store(i32.const(PARTS), parts),
        i32.store(i32.const(DONE), i32.const(0)),
        // Closed since the last job, all lower bits set: one more begins the next job at its first part.
        ticket.set(i32.add(i32.or(atomic.load(i32.const(TICKET)), i32.const(PART_MASK)), i32.const(1))),
        atomic.store(i32.const(TICKET), ticket),
        part.set(i32.const(0)),
        during(
          i32.less(part, parts),
          ...takeParts(ticket, [part, count, kind]),
          own.set(i32.add(own, count)),
          ticket.set(atomic.load(i32.const(TICKET))),
          part.set(partOf(ticket)),
        ),
        during(
          i32.notEqual(atomic.load(i32.const(DONE)), i32.sub(parts, own)),
          looks.set(i32.add(looks, i32.const(1))),
        ),
        atomic.store(i32.const(TICKET), i32.or(ticket, i32.const(PART_MASK))),
        when(i32.less(i32.const(patience), looks), i32.store(i32.const(ALONE), i32.const(JOBS_ALONE))),
      ),
    ];
  });

  /** Takes parts of every job, for ever; sleeps while no network is run. */
  const help = define("help", {}, "none", (_, local) => {
    const [wake, looks, ticket, part, count, kind] = [0, 1, 2, 3, 4, 5].map(() => local("i32"));
    return [
      during(
        i32.const(1),
        wake.set(atomic.load(i32.const(WAKE))),
        looks.set(i32.add(looks, i32.const(1))),
        when(atomic.load(i32.const(ACTIVE)), looks.set(i32.const(0))),
        when(i32.less(i32.const(LOOKS), looks), atomic.wait(i32.const(WAKE), wake), looks.set(i32.const(0))),
        ticket.set(atomic.load(i32.const(TICKET))),
        part.set(partOf(ticket)),
        when(
          i32.less(part, i32.load(i32.const(PARTS))),
          ...takeParts(ticket, [part, count, kind]),
          drop(atomic.add(i32.const(DONE), count)),
        ),
      ),
    ];
  });
  return [doAlone, lead, help];
}

const leadParameters = { kind: "i32", values: "i32", parts: "i32" } as const;

/** They take a job's kind, the address of its arguments, and how many parts it has. */
export interface TeamFunctions {
  doAlone(kind: number, values: number, parts: number): void;
  lead(kind: number, values: number, parts: number): void;
}

export class Team {
  private readonly helpers: Worker[] = [];
  private readonly control: Int32Array;
  /** Threads that work, the leader included. */
  readonly threads: number;

  /**
   * @param functions that work over this memory
   * @param helpers threads besides the one that leads, fewer where the system has no more
   * @param helper what such a thread runs
   */
  constructor(
    memory: WebAssembly.Memory,
    private readonly functions: TeamFunctions,
    helpers: number,
    helper: HelperProgram,
  ) {
    this.control = new Int32Array(memory.buffer, 0, TEAM_BYTES / 4);
    this.control[TICKET / 4] = PART_MASK;
    for (let i = 0; i < helpers; i++) {
      // Without gaps, whichever are started: jobs have so many places to work in.
      const started = startHelper(helper, { memory, thread: this.helpers.length + 1 });
      if (started !== null) this.helpers.push(started);
    }
    this.threads = this.helpers.length + 1;
    this.control[SHARE / 4] = SHARES_A_THREAD * this.threads;
  }

  /** Wakes the helpers: jobs follow. */
  begin(): void {
    if (this.helpers.length === 0) return;
    Atomics.store(this.control, ACTIVE / 4, 1);
    Atomics.add(this.control, WAKE / 4, 1);
    Atomics.notify(this.control, WAKE / 4);
  }

  /** Lets the helpers sleep. */
  end(): void {
    Atomics.store(this.control, ACTIVE / 4, 0);
  }

  /**
   * Does all parts of a job.
   * @param kind its place among the module's jobs
   * @param values address of its arguments
   * @param isSmall not worth more than one thread
   */
  run(kind: number, values: number, parts: number, isSmall = false): void {
    if (this.isAlone(parts, isSmall)) this.functions.doAlone(kind, values, parts);
    else this.functions.lead(kind, values, parts);
  }

  /** Whether who leads does such a job without the helpers. */
  isAlone(parts: number, isSmall: boolean): boolean {
    return isSmall || parts === 1 || parts > MOST_PARTS || this.helpers.length === 0;
  }

  async release(): Promise<void> {
    await Promise.all(this.helpers.splice(0).map((helper) => helper.terminate()));
  }
}

/** A helper that does not keep the process alive; null where there can be no more threads. */
function startHelper({ source, data }: HelperProgram, own: object): Worker | null {
  try {
    const helper = new Worker(source, { eval: true, workerData: { ...data, ...own }, env: SHARE_ENV, execArgv: [] });
    // Without it the leader does the work alone.
    helper.on("error", () => {});
    helper.unref();
    return helper;
  } catch {
    return null;
  }
}

/** What a helper runs: nothing to bundle. `data` reaches it with `memory` and its number, `thread`. */
export interface HelperProgram {
  source: string;
  data: object;
}

/** The kernels come with the program. */
export function wasmHelper(module: WebAssembly.Module): HelperProgram {
  const source = `const { module, memory } = require("node:worker_threads").workerData;
new WebAssembly.Instance(module, { env: { memory } }).exports.help();`;
  return { source, data: { module } };
}

/**
 * Looks for work natively, but only for a while at a time: it can be ended between two calls alone. Sleeps when a call began after
 * a run's end.
 * @param file the native kernels
 */
export function nativeHelper(file: string): HelperProgram {
  const source = `const { file, memory, thread } = require("node:worker_threads").workerData;
const kernels = require(file);
const address = kernels.memoryOf(new Uint8Array(memory.buffer));
const control = new Int32Array(memory.buffer);
for (;;) {
  const wake = Atomics.load(control, ${WAKE / 4});
  const isActive = Atomics.load(control, ${ACTIVE / 4}) !== 0;
  kernels.help(address, thread);
  if (!isActive) Atomics.wait(control, ${WAKE / 4}, wake);
}`;
  return { source, data: { file } };
}
