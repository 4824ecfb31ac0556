/** How long the LSP thread is blocked and how much memory the process holds: for the benchmark and the log. */
import { openSync, readSync } from "node:fs";
import { type EventLoopUtilization, performance } from "node:perf_hooks";

/** Interval of the timer whose delay is measured, ms. */
const RESOLUTION_MS = 1;

/** Begins to measure with the first reading, since the timer it needs is not free. */
export class ThreadMonitor {
  private timer: NodeJS.Timeout | null = null;
  private clock: ThreadClock | null = null;
  private last = { wall: 0, computing: 0 };
  private longest = { wall: 0, computing: 0 };
  private utilization: EventLoopUtilization = performance.eventLoopUtilization();

  /** `longestComputingMs`: of what the thread did at a stretch, on the processor; null where the system does not tell. */
  read(reset: boolean): {
    longestBlockMs: number;
    longestComputingMs: number | null;
    utilization: number;
    residentBytes: number;
  } {
    const reading = {
      longestBlockMs: this.longest.wall,
      longestComputingMs: this.clock?.isKnown ? this.longest.computing : null,
      utilization: performance.eventLoopUtilization(this.utilization).utilization,
      residentBytes: process.memoryUsage.rss(),
    };
    if (reset) {
      this.clock ??= new ThreadClock();
      this.timer ??= setInterval(() => this.tick(), RESOLUTION_MS).unref();
      this.last = { wall: performance.now(), computing: this.clock!.ms() };
      this.longest = { wall: 0, computing: 0 };
      this.utilization = performance.eventLoopUtilization();
    }
    return reading;
  }

  private tick(): void {
    const now = { wall: performance.now(), computing: this.clock!.ms() };
    this.longest.wall = Math.max(this.longest.wall, now.wall - this.last.wall - RESOLUTION_MS);
    this.longest.computing = Math.max(this.longest.computing, now.computing - this.last.computing);
    this.last = now;
  }
}

/** Time that the calling thread has had a processor, on Linux. */
class ThreadClock {
  private readonly file: number | null;
  private readonly buffer = Buffer.alloc(64);

  constructor() {
    try {
      this.file = openSync("/proc/thread-self/schedstat", "r");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === undefined) throw error;
      this.file = null;
    }
  }

  get isKnown(): boolean {
    return this.file !== null;
  }

  /** 0 where it is not known. */
  ms(): number {
    if (this.file === null) return 0;
    // Nanoseconds on a processor, waiting for one, and the number of turns.
    const length = readSync(this.file, this.buffer, 0, this.buffer.length, 0);
    return Number(this.buffer.toString("latin1", 0, length).split(" ", 1)[0]) / 1e6;
  }
}
