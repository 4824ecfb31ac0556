/**
 * Jobs for a team (`team.ts`): functions of the address of their arguments, 32 bits each, and of parts. They call kernels by their
 * places in the module, which `row-kernels.ts` puts together.
 */
import {
  call,
  define,
  during,
  f32,
  type I32,
  i32,
  type Local,
  repeat,
  type Statement,
  type WasmFunction,
  when,
} from "./assembler";
import { attentionScores, QUERIES_TOGETHER, softmax, VALUE_STRIP, weightedSum } from "./attention";
import { ACTIVATION_BYTES, BLOCK_BYTES } from "./blocks";
import { integerProduct, OUTPUTS_TOGETHER } from "./products";

/** Names of the arguments of each job, in their order. */
export const jobArguments = {
  /** Rows, as `quantizeBlocks` gives them, times weights in blocks: a part is so many `groups` of four outputs. */
  multiplyBlocks: ["x", "rows", "weights", "streamBytes", "scales", "out", "outBytes", "blocks", "groups", "allGroups"],
  /**
   * Rows of whole numbers, `largest` [rows], times int8 rows in streams: a part is so many `groups` of four outputs. Outputs are filled up to
   * whole groups.
   */
  multiplyIntegers: [
    "integers",
    "largest",
    "rows",
    "weights",
    "streamBytes",
    "scales",
    "out",
    "outBytes",
    "inputs",
    "groups",
    "allGroups",
  ],
  /**
   * Scores of every query head of some rows: a part is a stretch of so many positions (a multiple of 16) of a key head, key heads of
   * a row behind each other. A key head lies `headBytes` behind the one before, and serves `together` query heads. Masks and
   * scores of a head are `scoreBytes` long.
   */
  score: [
    "queries",
    "queryBytes",
    "keys",
    "headBytes",
    "mask",
    "scores",
    "scoreBytes",
    "keyHeads",
    "together",
    "headDim",
    "positions",
    "stretches",
    "stretch",
  ],
  /** Softmax of a head's scores, but for the `factors` that they are to be multiplied with: a part is a head of a row. */
  soften: ["scores", "scoreBytes", "together", "positions", "factors"],
  /** Sums of values by these weights: a part is a strip of a key head. */
  sum: [
    "scores",
    "scoreBytes",
    "factors",
    "values",
    "headBytes",
    "out",
    "outBytes",
    "keyHeads",
    "together",
    "headDim",
    "slots",
    "positions",
    "strips",
  ],
} as const;

/** A job by name; its kind is its place. */
export const jobNames = ["multiplyBlocks", "multiplyIntegers", "score", "soften", "sum"] as const;
export type JobName = (typeof jobNames)[number];
export type JobArgument<J extends JobName> = (typeof jobArguments)[J][number];

/**
 * @param indexOf place of a kernel in the module
 * @param blockProduct the form that the engine can run (`blocks.ts`)
 */
export function jobFunctions(indexOf: (kernel: WasmFunction) => number, blockProduct: WasmFunction): WasmFunction[] {
  const multiplyBlocks = define("multiplyBlocks", jobParameters, "none", ({ values, first, count }, local) => {
    const value = valuesOf("multiplyBlocks", values);
    const [row, x, out, blocks, groups] = [0, 1, 2, 3, 4].map(() => local("i32"));
    const before = i32.mul(first, value("groups"));
    const left = i32.sub(value("allGroups"), before);
    const rowBytes = i32.mul(blocks, i32.const(BLOCK_BYTES));
    return [
      blocks.set(value("blocks")),
      groups.set(i32.mul(count, value("groups"))),
      when(i32.less(left, groups), groups.set(left)),
      x.set(value("x")),
      out.set(i32.add(value("out"), i32.mul(before, i32.const(4 * OUTPUTS_TOGETHER)))),
      // What was read of the weights is still in the processor's caches for the next row.
      repeat(
        row,
        value("rows"),
        1,
        call(
          indexOf(blockProduct),
          "none",
          x,
          i32.add(value("weights"), i32.mul(before, rowBytes)),
          value("streamBytes"),
          // So many bytes of scales as of one stream: a group has four scales a block.
          i32.add(value("scales"), i32.mul(before, rowBytes)),
          out,
          blocks,
          groups,
        ),
        x.set(i32.add(x, i32.mul(blocks, i32.const(ACTIVATION_BYTES)))),
        out.set(i32.add(out, value("outBytes"))),
      ),
    ];
  });

  const multiplyIntegers = define("multiplyIntegers", jobParameters, "none", ({ values, first, count }, local) => {
    const value = valuesOf("multiplyIntegers", values);
    const [row, integers, out, groups] = [0, 1, 2, 3].map(() => local("i32"));
    const before = i32.mul(first, value("groups"));
    const left = i32.sub(value("allGroups"), before);
    return [
      groups.set(i32.mul(count, value("groups"))),
      when(i32.less(left, groups), groups.set(left)),
      integers.set(value("integers")),
      out.set(i32.add(value("out"), i32.mul(before, i32.const(4 * OUTPUTS_TOGETHER)))),
      repeat(
        row,
        value("rows"),
        1,
        call(
          indexOf(integerProduct),
          "none",
          integers,
          i32.add(value("weights"), i32.mul(before, value("inputs"))),
          value("streamBytes"),
          i32.add(value("scales"), i32.mul(before, i32.const(4 * OUTPUTS_TOGETHER))),
          out,
          value("inputs"),
          i32.mul(groups, i32.const(OUTPUTS_TOGETHER)),
          f32.load(i32.add(value("largest"), i32.shl(row, i32.const(2)))),
        ),
        integers.set(i32.add(integers, i32.shl(value("inputs"), i32.const(1)))),
        out.set(i32.add(out, value("outBytes"))),
      ),
    ];
  });

  /** Has kernels serve `left` query heads from `query` on, as many at a time as they can. */
  const forQueries = (
    kernels: readonly WasmFunction[],
    query: Local<"i32">,
    left: Local<"i32">,
    operands: readonly I32[],
  ): Statement[] =>
    QUERIES_TOGETHER.map((together, i) =>
      during(
        i32.less(i32.const(together - 1), left),
        call(indexOf(kernels[i]), "none", ...operands),
        query.set(i32.add(query, i32.const(together))),
        left.set(i32.sub(left, i32.const(together))),
      ),
    );

  const score = define("score", jobParameters, "none", ({ values, first: part, count }, local) => {
    const value = valuesOf("score", values);
    const [row, keyHead, first, positions, query, left] = [0, 1, 2, 3, 4, 5].map(() => local("i32"));
    const rowOfHeads = i32.div(part, value("stretches"));
    const head = i32.mul(i32.mul(row, value("keyHeads")), value("together"));
    const offset = i32.shl(first, i32.const(2));
    return eachPart(part, count, local, [
      row.set(i32.div(rowOfHeads, value("keyHeads"))),
      keyHead.set(i32.remainder(rowOfHeads, value("keyHeads"))),
      first.set(i32.mul(i32.remainder(part, value("stretches")), value("stretch"))),
      positions.set(i32.sub(value("positions"), first)),
      when(i32.less(value("stretch"), positions), positions.set(value("stretch"))),
      query.set(i32.mul(keyHead, value("together"))),
      left.set(value("together")),
      ...forQueries(attentionScores, query, left, [
        i32.add(
          i32.add(value("queries"), i32.mul(row, value("queryBytes"))),
          i32.shl(i32.mul(query, value("headDim")), i32.const(2)),
        ),
        // Keys of so many positions lie in front of these, each as long as a head is wide.
        i32.add(i32.add(value("keys"), i32.mul(keyHead, value("headBytes"))), i32.mul(offset, value("headDim"))),
        i32.add(i32.add(value("mask"), i32.mul(row, value("scoreBytes"))), offset),
        i32.add(i32.add(value("scores"), i32.mul(i32.add(head, query), value("scoreBytes"))), offset),
        value("scoreBytes"),
        value("headDim"),
        positions,
      ]),
    ]);
  });

  const soften = define("soften", jobParameters, "none", ({ values, first: part, count }, local) => {
    const value = valuesOf("soften", values);
    const scores = i32.add(value("scores"), i32.mul(part, value("scoreBytes")));
    return eachPart(part, count, local, [
      f32.store(
        i32.add(value("factors"), i32.shl(part, i32.const(2))),
        call(indexOf(softmax), "f32", scores, value("positions")),
      ),
    ]);
  });

  const sum = define("sum", jobParameters, "none", ({ values, first: part, count }, local) => {
    const value = valuesOf("sum", values);
    const [row, keyHead, strip, query, left] = [0, 1, 2, 3, 4].map(() => local("i32"));
    const rowOfHeads = i32.div(part, value("strips"));
    const head = i32.add(i32.mul(i32.mul(row, value("keyHeads")), value("together")), query);
    const stripBytes = i32.shl(i32.mul(value("slots"), i32.const(VALUE_STRIP)), i32.const(2));
    const width = i32.shl(value("headDim"), i32.const(2));
    return eachPart(part, count, local, [
      row.set(i32.div(rowOfHeads, value("keyHeads"))),
      keyHead.set(i32.remainder(rowOfHeads, value("keyHeads"))),
      strip.set(i32.remainder(part, value("strips"))),
      query.set(i32.mul(keyHead, value("together"))),
      left.set(value("together")),
      ...forQueries(weightedSum, query, left, [
        i32.add(value("scores"), i32.mul(head, value("scoreBytes"))),
        value("scoreBytes"),
        i32.add(i32.add(value("values"), i32.mul(keyHead, value("headBytes"))), i32.mul(strip, stripBytes)),
        i32.add(
          i32.add(i32.add(value("out"), i32.mul(row, value("outBytes"))), i32.mul(query, width)),
          i32.mul(strip, i32.const(4 * VALUE_STRIP)),
        ),
        width,
        value("positions"),
        i32.add(value("factors"), i32.shl(head, i32.const(2))),
      ]),
    ]);
  });
  return [multiplyBlocks, multiplyIntegers, score, soften, sum];
}

const jobParameters = { values: "i32", first: "i32", count: "i32" } as const;

/** Runs the body for `part` and those behind it. */
function eachPart(
  part: Local<"i32">,
  count: I32,
  local: (type: "i32") => Local<"i32">,
  body: readonly Statement[],
): Statement[] {
  const end = local("i32");
  return [end.set(i32.add(part, count)), repeat(part, end, 1, ...body)];
}

/** A job's arguments by name, from where they lie. */
function valuesOf<J extends JobName>(job: J, address: I32): (name: JobArgument<J>) => I32 {
  const names: readonly string[] = jobArguments[job];
  return (name) => i32.load(address, 4 * names.indexOf(name));
}
