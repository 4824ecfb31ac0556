import assert from "node:assert/strict";
import { openLexiconCheckpoint } from "../../../model-runtime/checkpoint/open-lexicon";
import { createRandom } from "../../../model-runtime/generation/random";
import { nativeKernels } from "../../../model-runtime/kernels/native";
import { RowMemory } from "../../../model-runtime/kernels/row-kernels";
import { CausalNetwork } from "../../../model-runtime/model/causal-network";
import { draftLayerGraph, PROPOSALS } from "../../../model-runtime/model/draft-layer";
import { draftedPieces } from "../../../model-runtime/model/foresight";
import { drafterRows } from "../../../model-runtime/model/row-networks";
import { relative } from "../../helpers/compared-runs";
import { writeRandomLexicon } from "../../helpers/random-lexicon";
import { useTemporaryFolder } from "../checkpoint/fixture";

const shape = { width: 96, heads: 3, kvHeads: 1, layers: 2, readoutMatrix: false };
const pieces = 37;
const options = { device: "cpu", threads: 1 } as const;

describe("a draft layer's rows", () => {
  const path = useTemporaryFolder();
  before(function () {
    if (nativeKernels() === null) this.skip();
  });

  for (const innerLayers of [[], [1], [0, 1]])
    it(`propose what its graph does, from rows of the latent and from its own; it sees ${innerLayers.length} inner layers`, async () => {
      const folder = path(`${innerLayers.length}`);
      await writeRandomLexicon(folder, { ...shape, drafter: { pieces, innerLayers, window: 8 } }, 5);
      const checkpoint = openLexiconCheckpoint(folder);
      const config = checkpoint.config.drafter!;
      // Narrow ones saturate on no processor.
      const source = { checkpoint, int8Kernel: "rows-narrow" } as const;
      const proposed = draftedPieces(checkpoint);
      const rows = drafterRows(source, Array.from(proposed), RowMemory.create(1, true)!);
      assert.ok(rows);
      const graph = () => draftLayerGraph(source, proposed);
      const networks = [
        await CausalNetwork.load(graph, config, options, rows),
        await CausalNetwork.load(graph, config, options),
      ];
      const caches = networks.map((network) => network.createCache());
      const random = createRandom(9);
      const { width } = shape;
      const values = (count: number, columns: number) => ({
        data: Float32Array.from({ length: count * columns }, () => 2 * random() - 1),
        shape: [count, columns],
      });
      let same = 0;
      const runs = [1, 5, 1, 40, 1, 1, 3];
      for (const [i, count] of runs.entries()) {
        const inner = values(count, innerLayers.length * width);
        // What a draft goes on from is seen by nobody but itself.
        if (i % 4 === 2) inner.data.fill(0);
        const inputs = {
          states: values(count, width),
          embedding: values(count, width),
          ...(innerLayers.length > 0 ? { inner } : {}),
        };
        const [found, expected] = await Promise.all(
          networks.map(async (network, n) => {
            const { data } = await network.run(caches[n], count, inputs, null);
            return data.slice(-2 * PROPOSALS - width);
          }),
        );
        assert.ok(relative(found.subarray(2 * PROPOSALS), expected.subarray(2 * PROPOSALS)) < 0.05, `run ${i}`);
        for (let k = 0; k < PROPOSALS; k++) {
          assert.ok(k === 0 || found[k] <= found[k - 1]);
          assert.ok(Math.abs(found[k] / expected[k] - 1) < 0.1, `run ${i}: ${found[k]}, ${expected[k]}`);
          if (found[PROPOSALS + k] === expected[PROPOSALS + k]) same++;
        }
      }
      // Chances that are nearly equal may change places.
      assert.ok(same > 0.8 * runs.length * PROPOSALS, `${same}`);
      for (const network of networks) await network.release();
    });
});
