/**
 * What the row kernels need besides layers to run a lexicon model's draft layer: what its graph (`draft-layer.ts`) does before and
 * behind them. Shapes as there.
 */
import type { LexiconCheckpoint } from "../checkpoint/open-lexicon";
import { drafterPrefix } from "../checkpoint/open-lexicon";
import type { Feeds } from "../session";
import { PROPOSALS } from "./draft-layer";
import { pieceProduct } from "./piece-product";
import type { RowNetworkParts } from "./row-network";
import { SPARE_OUTPUTS } from "./row-product";

/** @throws a `RangeError` where the memory has no room for what is read out */
export function draftRowsParts(checkpoint: LexiconCheckpoint, pieces: readonly number[]): RowNetworkParts {
  const config = checkpoint.config.drafter!;
  return {
    prefix: drafterPrefix.replace(/\.$/, ""),
    config,
    input: draftSource(config.hiddenSize, config.innerLayers.length, config.normEps),
    resultLayers: [],
    head: draftHead(checkpoint, pieces),
    cross: null,
  };
}

/** Rows of the states before pieces, and of the pieces' embeddings. */
function draftSource(width: number, innerCount: number, epsilon: number): Exclude<RowNetworkParts["input"], string> {
  return ({ memory, linears, operations, norm, rows: most }) => {
    const [stateNorm, pieceNorm] = ["state_norm", "piece_norm"].map((name) => norm(`${drafterPrefix}${name}`));
    const project = linears.load(`${drafterPrefix}input_proj`);
    const given = memory.allocateRows(most, width);
    // State and piece beside each other.
    const both = memory.allocateRows(most, 2 * width);
    const piece = { at: both.at + 4 * width, bytes: both.bytes };
    const inner = innerCount === 0 ? null : innerRows();

    function innerRows() {
      const norms = Array.from({ length: innerCount }, (_, i) => norm(`${drafterPrefix}inner_norms.${i}`));
      return {
        norms,
        project: linears.load(`${drafterPrefix}inner_proj`),
        given: memory.allocateRows(most, innerCount * width),
        normed: memory.allocateRows(most, innerCount * width),
        projected: memory.allocateRows(most, width + SPARE_OUTPUTS),
      };
    }

    return {
      hasRoomFor: () => true,
      write(inputs, rows, first, count) {
        const copy = (name: string, to: { at: number }, columns: number) =>
          memory.floats.set(valuesOf(inputs, name, first, count, columns), to.at / 4);
        copy("states", given, width);
        operations.norm(given, stateNorm, both, width, epsilon, count);
        // What is not known adds nothing: a draft's own rows, one at a time.
        if (inner !== null && (count > 1 || valuesOf(inputs, "inner", first, 1, width).some((value) => value !== 0))) {
          copy("inner", inner.given, innerCount * width);
          inner.norms.forEach((weight, i) => {
            const [from, to] = [inner.given, inner.normed].map(({ at, bytes }) => ({ at: at + 4 * i * width, bytes }));
            operations.norm(from, weight, to, width, epsilon, count);
          });
          inner.project.apply(inner.normed, inner.projected, count);
          operations.add(both, inner.projected, width, count);
        }
        copy("embedding", given, width);
        operations.norm(given, pieceNorm, piece, width, epsilon, count);
        project.apply(both, rows, count);
      },
    };
  };
}

function valuesOf(inputs: Feeds, name: string, first: number, count: number, columns: number): Float32Array {
  return (inputs[name].data as Float32Array).subarray(first * columns, (first + count) * columns);
}

/** Results [N, 2 K + E], those of all rows but the last being zeros. */
function draftHead(checkpoint: LexiconCheckpoint, pieces: readonly number[]): NonNullable<RowNetworkParts["head"]> {
  const { hiddenSize: width, normEps } = checkpoint.config.drafter!;
  return ({ memory, operations, norm }) => {
    const weight = norm(`${drafterPrefix}norm`);
    const product = pieceProduct(checkpoint, "blocked", pieces, memory, 1);
    if (product === null) throw new RangeError("the kernels' memory has no room for a readout");
    const { states, chances } = product;
    const proposed = Math.min(PROPOSALS, pieces.length);
    const results = 2 * proposed + width;
    return {
      width: results,
      read(rows, count) {
        const made = new Float32Array(count * results);
        const last = made.subarray((count - 1) * results);
        operations.norm(
          { at: rows.at + (count - 1) * rows.bytes, bytes: rows.bytes },
          weight,
          states,
          width,
          normEps,
          1,
        );
        last.set(memory.row(states, 0, width), 2 * proposed);
        product.run(1);
        const found = memory.row(chances, 0, pieces.length);
        largest(found, proposed).forEach((place, i) => {
          last[i] = found[place];
          last[proposed + i] = place;
        });
        return made;
      },
    };
  };
}

/** Places of the largest values, the largest first. */
function largest(values: Float32Array, count: number): number[] {
  const places: number[] = [];
  for (let place = 0; place < values.length; place++) {
    if (places.length === count && values[place] <= values[places[count - 1]]) continue;
    let at = places.length;
    while (at > 0 && values[places[at - 1]] < values[place]) at--;
    places.splice(at, 0, place);
    if (places.length > count) places.pop();
  }
  return places;
}
