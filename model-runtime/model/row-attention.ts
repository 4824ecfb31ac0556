/** Attention of rows by the row kernels. Shapes: N rows, H query heads, K key/value heads, D head width. */
import type { LocalConfig } from "../checkpoint/config";
import type { RowMemory } from "../kernels/row-kernels";
import type { AttentionShape, RowAttention } from "./attention-shape";
import type { AttentionSlots } from "./attention-slots";
import { NativeAttention } from "./native-attention";
import { WasmAttention } from "./wasm-attention";

/** @param most N at most */
export function rowAttention(
  memory: RowMemory,
  sight: AttentionSlots,
  shape: AttentionShape,
  most: number,
): RowAttention {
  const attention = memory.isNative
    ? new NativeAttention(memory, sight, shape, most)
    : new WasmAttention(memory, sight, shape, most);
  const width = shape.heads * shape.headDim;
  return {
    apply(layer, queries, out, count) {
      if (sight.slotsInUse > 0) attention.apply(layer, queries, out, count);
      else for (let row = 0; row < count; row++) memory.row(out, row, width).fill(0);
    },
  };
}

/** Attention of a local network's vectors or bytes to what is in sight. */
export function crossAttentionOf(
  memory: RowMemory,
  sight: AttentionSlots,
  { hiddenSize, crossAttentionHeads: heads, crossAttentionKvHeads: keyHeads }: LocalConfig,
  most: number,
): RowAttention {
  return rowAttention(memory, sight, { heads, keyHeads, headDim: hiddenSize / heads }, most);
}
