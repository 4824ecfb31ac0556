/**
 * What the row kernels make of a network's last layer. Shapes: N rows, E width, k vectors a patch, h local width, K key/value heads of
 * the decoder's cross-attention, D their width.
 */
import type { BltConfig } from "../checkpoint/config";
import { crossLayerNames } from "./cross-attention";
import { crossRowWidth } from "./networks";
import type { RowHead, RowTools } from "./row-network";
import { SPARE_OUTPUTS } from "./row-product";

/**
 * Norm of the last layer's output, times a matrix if there is one.
 * @param projection name without `.weight`; `isExact` where its products are to be those of float32
 */
export function normedHead(
  width: number,
  epsilon: number,
  norm: string,
  projection: { name: string; isExact: boolean } | null,
): (tools: RowTools) => RowHead {
  return ({ memory, linears, operations, norm: place, rows: most }) => {
    const weight = place(norm);
    const linear =
      projection && (projection.isExact ? linears.loadFloats(projection.name) : linears.load(projection.name));
    const outputs = linear?.outputs ?? width;
    const normed = memory.allocateRows(most, width);
    const made = linear ? memory.allocateRows(most, outputs + SPARE_OUTPUTS) : normed;
    return {
      width: outputs,
      read(rows, count) {
        const results = new Float32Array(count * outputs);
        operations.norm(rows, weight, normed, width, epsilon, count);
        linear?.apply(normed, made, count);
        for (let row = 0; row < count; row++) results.set(memory.row(made, row, outputs), row * outputs);
        return results;
      },
    };
  };
}

/** Keys and values of patches for the decoder's cross-attention, as `latentNodes` gives them: per layer two of [k, K D]. */
export function patchKeysHead(config: BltConfig): (tools: RowTools) => RowHead {
  const { decoder, crossAttentionK: k } = config;
  const { hiddenSize, crossAttentionHeads, crossAttentionKvHeads, normEps } = decoder;
  const headWidth = crossAttentionKvHeads * (hiddenSize / crossAttentionHeads);
  return ({ memory, linears, operations, norm, rows: most }) => {
    const project = linears.load("model.local_decoder.patch_embedding_projection");
    const layers = crossLayerNames("model.local_decoder", decoder).map((name) => ({
      norm: norm(`${name}.k_norm`),
      keysAndValues: linears.load(`${name}.k_proj`, `${name}.v_proj`),
    }));
    // A row's k vectors lie behind each other, and so do those of all rows.
    const vectors = memory.allocateRows(most * k, hiddenSize);
    const projected = { at: vectors.at, bytes: k * vectors.bytes };
    memory.allocateFloats(SPARE_OUTPUTS);
    const normed = memory.allocateRows(most * k, hiddenSize);
    const made = memory.allocateRows(most * k, 2 * headWidth + SPARE_OUTPUTS);
    const width = crossRowWidth(config);
    return {
      width,
      read(rows, count) {
        const results = new Float32Array(count * width);
        project.apply(rows, projected, count);
        layers.forEach((layer, index) => {
          operations.norm(vectors, layer.norm, normed, hiddenSize, normEps, count * k);
          layer.keysAndValues.apply(normed, made, count * k);
          for (let row = 0; row < count; row++)
            for (let vector = 0; vector < k; vector++) {
              const both = memory.row(made, row * k + vector, 2 * headWidth);
              const to = row * width + 2 * index * k * headWidth + vector * headWidth;
              results.set(both.subarray(0, headWidth), to);
              results.set(both.subarray(headWidth), to + k * headWidth);
            }
        });
        return results;
      },
    };
  };
}
