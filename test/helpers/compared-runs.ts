/** Networks beside onnxruntime: each run that their row kernels take is made by both, from the same cache. */
import assert from "node:assert/strict";
import { CausalNetwork, type Rows } from "../../model-runtime/model/causal-network";
import type { KvCache } from "../../model-runtime/model/kv-cache";
import type { Feeds } from "../../model-runtime/session";

export class ComparedRuns {
  /** Rows of each run that the kernels took. */
  readonly inKernels: number[] = [];
  /** Of all rows, and of those that saw no row of their run that was rounded otherwise. */
  private readonly differences: number[] = [];
  private readonly unspoilt: number[] = [];

  /**
   * Watches a network from now on.
   * @param graph the same one without kernels; released with this
   */
  constructor(
    private readonly network: CausalNetwork,
    private readonly graph: CausalNetwork,
  ) {
    const { run, runTree } = CausalNetwork.prototype;
    network.run = (cache, count, inputs, floors, signal, wanted = 0) => {
      const runBy = (by: CausalNetwork, own: KvCache) => run.call(by, own, count, inputs, floors, signal, wanted);
      return this.both(cache, count, inputs, runBy, Math.max(0, Math.min(count, wanted - cache.length)));
    };
    network.runTree = (cache, parents, kept, inputs, ...rest) =>
      this.both(cache, parents.length, inputs, (by, own) => runTree.call(by, own, parents, kept, inputs, ...rest));
  }

  private async both(
    cache: KvCache,
    count: number,
    inputs: Feeds,
    run: (by: CausalNetwork, own: KvCache) => Promise<Rows>,
    unwanted = 0,
  ): Promise<Rows> {
    if (!this.network.rowNetwork?.takes(cache, count, inputs)) return run(this.network, cache);
    const copy = cache.fork();
    const found = await run(this.network, cache);
    const expected = await run(this.graph, copy);
    this.inKernels.push(count);
    assert.deepEqual([found.count, found.stride, cache.length], [expected.count, expected.stride, copy.length]);
    for (let row = unwanted, isSpoilt = false; row < count; row++) {
      const [from, to] = [row * found.stride, (row + 1) * found.stride];
      const difference = relative(found.data.subarray(from, to), expected.data.subarray(from, to));
      this.differences.push(difference);
      if (!isSpoilt) this.unspoilt.push(difference);
      isSpoilt ||= difference > 1e-5;
    }
    return found;
  }

  /** Fails where the kernels gave other rows than onnxruntime. */
  check(): void {
    const sorted = this.unspoilt.sort((a, b) => a - b);
    // Sums in another order let an activation fall to the other side of a half now and then; then rows differ by a step.
    assert.ok(sorted[sorted.length >> 1] < 1e-5, `most of ${this.unspoilt.length} rows: ${sorted.join(" ")}`);
    assert.ok(sorted.length > this.differences.length / 8, `${sorted.length} of ${this.differences.length} rows`);
    const furthest = Math.max(...this.differences);
    assert.ok(furthest < 0.1, `furthest: ${furthest}`);
  }

  release(): Promise<void> {
    return this.graph.release();
  }
}

/** Root of the mean square of the difference, as a part of the values'. */
export function relative(found: Float32Array, expected: Float32Array): number {
  assert.equal(found.length, expected.length);
  let [error, power] = [0, 0];
  found.forEach((value, i) => {
    error += (value - expected[i]) ** 2;
    power += expected[i] ** 2;
  });
  return Math.sqrt(error / power);
}
