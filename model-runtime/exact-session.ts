/**
 * Sessions on an NVIDIA GPU that multiply float32 numbers as such. Some of a hundred sessions round the factors of all their
 * products to 10 bits (TF32) although the libraries were told not to (docs/performance-gpu.md), which moves logits by some
 * thousandths. It is known only when they run: so each run also makes a product whose result is known, and a session that rounds it is
 * compiled again.
 */
import type { Graph } from "./graph/graph";

/** A compiled graph, as onnxruntime gives it. T is a tensor. */
export interface Compiled<T> {
  run(feeds: Record<string, T>, fetches: readonly string[]): Promise<Record<string, T>>;
  release(): Promise<void>;
}

const PROBE = "probe";
const PROBED = "probed";
/** A product of a single row would be exact in any session. */
const ROWS = 8;
const WIDTH = 64;
/** One number whose last bit TF32 does not keep. */
const PROBE_VALUE = 1 + 2 ** -20;
/** Sessions that a run tries at most. */
const MOST_SESSIONS = 8;

/** What each run is given beside its own inputs. */
export const probe = { data: new Float32Array(ROWS * WIDTH).fill(PROBE_VALUE), shape: [ROWS, WIDTH] };

/** Adds the product of an input, the probe, with the identity to a graph. */
export function addProbe(graph: Graph): void {
  const rows = graph.input(PROBE, [ROWS, WIDTH]);
  const identity = Float32Array.from({ length: WIDTH ** 2 }, (_, i) => (i % (WIDTH + 1) === 0 ? 1 : 0));
  graph.output(PROBED, graph.node("MatMul", [rows, graph.float32(identity, [WIDTH, WIDTH])], rows.shape));
}

/** A session whose graph has a probe (`addProbe`). Its runs come one after the other. */
export class ExactSession<T extends { data: unknown }> implements Compiled<T> {
  private lastRun: Promise<unknown> = Promise.resolve();
  /** On a GPU where all sessions round there is nothing to be gained. */
  private allRound = false;

  constructor(
    private session: Compiled<T>,
    private readonly compile: () => Promise<Compiled<T>>,
    private readonly probe: T,
  ) {}

  run(feeds: Record<string, T>, fetches: readonly string[]): Promise<Record<string, T>> {
    const run = this.lastRun.then(() => this.exactRun(feeds, fetches));
    this.lastRun = run.catch(() => undefined);
    return run;
  }

  async release(): Promise<void> {
    await this.lastRun;
    await this.session.release();
  }

  private async exactRun(feeds: Record<string, T>, fetches: readonly string[]): Promise<Record<string, T>> {
    for (let sessions = 1; ; sessions++) {
      const results = await this.session.run({ ...feeds, [PROBE]: this.probe }, [...fetches, PROBED]);
      const isExact = (results[PROBED].data as Float32Array).every((value) => value === PROBE_VALUE);
      this.allRound ||= !isExact && sessions === MOST_SESSIONS;
      if (isExact || this.allRound) return results;
      const { session } = this;
      this.session = await this.compile();
      await session.release();
    }
  }
}
