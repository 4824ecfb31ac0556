/** How long the LSP thread is blocked and how much memory the process holds: for the benchmark and the log. */
import { type EventLoopUtilization, type IntervalHistogram, monitorEventLoopDelay, performance } from "node:perf_hooks";

/** Interval of the timer whose delay is measured, ms. */
const RESOLUTION_MS = 1;

/** Begins to measure with the first reading, since the timer it needs is not free. */
export class ThreadMonitor {
  private delay: IntervalHistogram | null = null;
  private utilization: EventLoopUtilization = performance.eventLoopUtilization();

  read(reset: boolean): { longestBlockMs: number; utilization: number; residentBytes: number } {
    const reading = {
      longestBlockMs: this.delay === null || this.delay.count === 0 ? 0 : this.delay.max / 1e6 - RESOLUTION_MS,
      utilization: performance.eventLoopUtilization(this.utilization).utilization,
      residentBytes: process.memoryUsage.rss(),
    };
    if (reset) {
      this.delay ??= monitorEventLoopDelay({ resolution: RESOLUTION_MS });
      this.delay.enable();
      this.delay.reset();
      this.utilization = performance.eventLoopUtilization();
    }
    return reading;
  }
}
