/**
 * Several bytes of greedy decoding as ONE graph: what the networks cached stays on the device for all of them, and only
 * the new rows come back. An ONNX `Loop` runs a byte a turn: hash embedding, patcher, encoder, patching rule, the
 * latent transformer where a patch closes (`If`), decoder, and the likeliest byte, which the next turn reads.
 *
 * Shapes: T turns that were made, t rows made so far, m patches closed so far, C slots of a cache, S state width,
 * X width of what the decoder reads of a patch, w patches that a byte sees, o ids of the open patch, g ids of the longest hash.
 */
import type { Checkpoint, HashTableLocation, TensorLocation } from "../checkpoint/checkpoint";
import type { PatchingConfig, TransformerConfig } from "../checkpoint/config";
import { Graph, type Value } from "../graph/graph";
import { BYTE_OFFSET, EOS, VOCABULARY_SIZE } from "../ids";
import { isSeparator } from "../patching/patcher-rule";
import { hashMultipliers } from "./hash-embedding";
import { HIDDEN_SCORE } from "./kv-cache";
import type { GraphContext, Int8Kernel } from "./linear";
import {
  type Context,
  crossRowWidth,
  decoderNodes,
  encoderNodes,
  encoderStateLayers,
  latentNodes,
  patcherNodes,
} from "./networks";
import { headShape, type StackInputs } from "./transformer";

/** Networks in the order in which their caches are named. */
export const loopNetworks = ["patcher", "encoder", "latent", "decoder"] as const;
export type LoopNetwork = (typeof loopNetworks)[number];

/** The networks that a loop under this patching runs. */
export function networksOfLoop({ config }: Checkpoint, patching: PatchingConfig): [LoopNetwork, TransformerConfig][] {
  const patcher = patching.mode === "entropy" ? config.patcher : null;
  const configs = { patcher, encoder: config.encoder, latent: config.latent, decoder: config.decoder };
  return loopNetworks.flatMap((name) => (configs[name] === null ? [] : [[name, configs[name]]])) as [
    LoopNetwork,
    TransformerConfig,
  ][];
}

type LoopContext = Context & { checkpoint: Checkpoint };

interface LoopSource {
  checkpoint: Checkpoint;
  int8Kernel: Int8Kernel;
}

/** What a turn hands to the next one. */
type Carried = Record<string, Value>;

/**
 * Inputs: `turns` and `length` (ids in the text) int64 [1], `patches` (closed ones) int64 [1], `ids` int64 [g], the last
 * being the first one to append, `openStates` [o, S], `cross` [w or fewer, X], `previousEntropy` [1]; a network's
 * `NAME.pastKeysL`, `NAME.pastValuesL`, `NAME.positions` [1, C] (of each slot, hidden ones far below) and `NAME.cos`,
 * `NAME.sin` [turns, D/2] of the positions to come.
 *
 * Outputs, float32: `ids` [T] as they were appended, `logits` [T, 260], `entropies` [T], `states` [T, S], `cross` with a
 * row more for each patch that closed, and `NAME.keysAndValues` [2 * layers, K, rows, D].
 */
export function deviceLoopGraph(source: LoopSource, patching: PatchingConfig): Graph {
  const { checkpoint } = source;
  const { config } = checkpoint;
  const graph = new Graph("device-loop");
  const networks = networksOfLoop(checkpoint, patching);
  const stateWidth = config.encoder.hiddenSize * encoderStateLayers(config).length;
  const longestHash = Math.max(1, ...config.hash.groupSizes);

  const turns = graph.input("turns", [1], "int64");
  const length = graph.input("length", [1], "int64");
  const patches = graph.input("patches", [1], "int64");
  const pasts = new Map(networks.map(([name, network]) => [name, pastInputs(graph, name, network)]));
  const first: Carried = {
    ids: graph.input("ids", [longestHash], "int64"),
    openStates: graph.input("openStates", ["o", stateWidth]),
    cross: graph.input("cross", ["w", crossRowWidth(config)]),
    previousEntropy: graph.input("previousEntropy", [1]),
  };
  for (const [name, { layers, kvHeads, headDim }] of networks)
    first[name] = graph.float32([], [2 * layers, kvHeads, 0, headDim]);

  const body = graph.body("turn");
  const turn = body.input("turn", [], "int64");
  body.input("goesOn", [], "bool");
  const carried: Carried = Object.fromEntries(
    Object.entries(first).map(([name, { type, shape }]) => [name, body.input(`carried.${name}`, loose(shape), type)]),
  );
  const context: LoopContext = { ...source, graph: body };
  const position = body.node("Add", [length, turn], [1]);
  const next = turnNodes(context, patching, pasts, carried, { turn, position, patches });

  body.output("turn.goesOn", body.node("Not", [equals(body, next.chosen, EOS)], [], { type: "bool" }));
  for (const name of Object.keys(first)) body.output(`turn.${name}`, next.carried[name]);
  const scans = {
    id: toFloat(body, lastOf(body, carried.ids)),
    logits: next.logits,
    entropy: next.entropy,
    states: next.states,
  };
  for (const [name, value] of Object.entries(scans)) body.output(`turn.scan.${name}`, value);

  const names = Object.keys(first);
  const results = graph.nodes(
    "Loop",
    [graph.node("Squeeze", [turns], []), constantTrue(graph), ...names.map((name) => first[name])],
    [
      ...names.map((name) => loose(first[name].shape)),
      ["T", 1],
      ["T", 1, VOCABULARY_SIZE],
      ["T", 1],
      ["T", 1, stateWidth],
    ],
    { attributes: { body: body.asAttribute() }, type: "float32" },
  );
  const result = (name: string) => results[names.indexOf(name)];
  const [ids, logits, entropies, states] = results.slice(names.length);
  for (const [name, value] of Object.entries({ ids, logits, entropies, states })) graph.output(`all.${name}`, value);
  graph.output("all.cross", result("cross"));
  for (const [name] of networks) graph.output(`${name}.keysAndValues`, result(name));
  return graph;
}

interface Place {
  turn: Value;
  /** Of the id that this turn appends, [1]. */
  position: Value;
  /** Closed patches before the run, [1]. */
  patches: Value;
}

function turnNodes(
  context: LoopContext,
  patching: PatchingConfig,
  pasts: Map<LoopNetwork, Past>,
  carried: Carried,
  { turn, position, patches }: Place,
) {
  const { graph: body } = context;
  const { config } = context.checkpoint;
  const zero = body.int64([0]);
  const stack = (name: LoopNetwork, network: TransformerConfig, row: Value, at: Value) =>
    stackOfTurn(body, pasts.get(name)!, carried[name], network, row, at);

  const id = lastOf(body, carried.ids);
  let entropy = body.float32([Number.NaN]);
  const grown: Carried = {};
  const pastOfPatcher = pasts.get("patcher");
  if (pastOfPatcher) {
    const table = floatTable(context, context.checkpoint.tensors.get("model.patcher.embed_tokens.weight")!);
    const row = body.node("Gather", [table, id], [1, config.patcher!.hiddenSize]);
    const made = patcherNodes(context, stack("patcher", config.patcher!, turn, position), row);
    grown.patcher = joinRows(body, made.newKeysAndValues);
    entropy = entropyOf(body, made.results[0]);
  }
  const encoded = encoderNodes(
    context,
    stack("encoder", config.encoder, turn, position),
    embeddingRow(context, carried.ids),
  );
  grown.encoder = joinRows(body, encoded.newKeysAndValues);
  const states = concat(body, encoded.results, 1);
  const openStates = concat(body, [carried.openStates, states], 0);

  const closes = closesPatch(body, patching, {
    ids: carried.ids,
    id,
    openStates,
    entropy,
    position,
    previous: carried.previousEntropy,
  });
  const rowsOfLatent = body.node(
    "Slice",
    [body.node("Shape", [carried.latent], [4], { type: "int64" }), body.int64([2]), body.int64([3])],
    [1],
  );
  const inputs = stack("latent", config.latent, rowsOfLatent, body.node("Add", [patches, rowsOfLatent], [1]));
  const [cross, latent, open] = body.nodes(
    "If",
    [closes],
    [["w", crossRowWidth(config)], [...loose(carried.latent.shape)], ["o", openStates.shape[1]]],
    {
      type: "float32",
      attributes: {
        then_branch: closingBranch(context, inputs, carried, openStates).asAttribute(),
        else_branch: otherBranch(body, carried, openStates).asAttribute(),
      },
    },
  );
  grown.latent = latent;

  const window = config.crossAttentionWindow.decoder;
  const seen = body.node(
    "Slice",
    [cross, body.int64([-window]), body.int64([2 ** 31 - 1]), zero],
    ["w", crossRowWidth(config)],
  );
  const width = config.encoder.hiddenSize;
  const ownStates = encoded.results[encoded.results.length - 1];
  const decoded = decoderNodes(
    context,
    stack("decoder", config.decoder, turn, position),
    { ...ownStates, shape: [1, width] },
    seen,
    body.float32([0], [1, 1]),
  );
  grown.decoder = joinRows(body, decoded.newKeysAndValues);
  const logits = decoded.results[0];
  const chosen = likeliest(body, logits);
  const kept = body.node("Slice", [carried.ids, body.int64([1]), body.int64([2 ** 31 - 1])], carried.ids.shape);
  return {
    logits,
    entropy,
    states,
    chosen,
    carried: {
      ids: concat(body, [kept, chosen], 0),
      openStates: open,
      cross,
      previousEntropy: entropy,
      ...grown,
    } as Carried,
  };
}

/** The patch is pooled and goes through the latent transformer; the next one is empty. */
function closingBranch(context: Context, inputs: StackInputs, carried: Carried, openStates: Value): Graph {
  const branch = context.graph.body("closes");
  const inBranch: Context = { ...context, graph: branch };
  const h = context.checkpoint.config.encoder.hiddenSize;
  const firstLayer = branch.node(
    "Slice",
    [openStates, branch.int64([0]), branch.int64([h]), branch.int64([1])],
    ["o", h],
  );
  const pooled = branch.node("ReduceMax", [firstLayer, branch.int64([0])], [1, h], { attributes: { keepdims: 1 } });
  const seen = { pooled, states: openStates, mask: branch.float32([0], [1, 1]) };
  // The keys and values are put behind one another inside the branch.
  const extended = { ...inputs, ...extension(branch, carried.latent) };
  const made = latentNodes(inBranch, extended, seen);
  branch.output("closes.cross", concat(branch, [carried.cross, concat(branch, made.results, 1)], 0));
  branch.output("closes.latent", joinRows(branch, made.newKeysAndValues));
  branch.output(
    "closes.open",
    branch.node("Slice", [openStates, branch.int64([0]), branch.int64([0])], ["o", openStates.shape[1]]),
  );
  return branch;
}

function otherBranch(body: Graph, carried: Carried, openStates: Value): Graph {
  const branch = body.body("stays");
  branch.output("stays.cross", carried.cross);
  branch.output("stays.latent", carried.latent);
  branch.output("stays.open", openStates);
  return branch;
}

interface Past {
  keys: Value[];
  values: Value[];
  positions: Value;
  cos: Value;
  sin: Value;
}

function pastInputs(graph: Graph, name: LoopNetwork, { layers, heads, kvHeads, headDim }: TransformerConfig): Past {
  const slots = `C.${name}`;
  const shape = [...headShape(heads, kvHeads), slots, headDim];
  const each = (kind: string) =>
    Array.from({ length: layers }, (_, layer) => graph.input(`${name}.${kind}${layer}`, shape));
  return {
    keys: each("pastKeys"),
    values: each("pastValues"),
    positions: graph.input(`${name}.positions`, [1, slots]),
    cos: graph.input(`${name}.cos`, ["rows", headDim / 2]),
    sin: graph.input(`${name}.sin`, ["rows", headDim / 2]),
  };
}

/**
 * What one new row of a network attends to: the past that was handed over, the rows of earlier turns, itself.
 * @param row its number among the run's rows
 * @param position its position in the network
 */
function stackOfTurn(
  body: Graph,
  past: Past,
  made: Value,
  { window }: TransformerConfig,
  row: Value,
  position: Value,
): StackInputs {
  const index = body.node("Reshape", [row, body.int64([1])], [1]);
  const slots = body.node(
    "Slice",
    [body.node("Shape", [past.positions], [2], { type: "int64" }), body.int64([1]), body.int64([2])],
    [1],
  );
  const rows = body.node(
    "Slice",
    [body.node("Shape", [made], [4], { type: "int64" }), body.int64([2]), body.int64([3])],
    [1],
  );
  const count = body.node("Add", [rows, body.int64([1])], [1]);
  const last = toFloat(body, position);
  // Positions of the run's own rows end with this one.
  const newPositions = toFloat(
    body,
    body.node(
      "Range",
      [
        scalar(body, body.node("Sub", [position, rows], [1])),
        scalar(body, body.node("Add", [position, body.int64([1])], [1])),
        body.int64([1], []),
      ],
      ["t"],
    ),
  );
  const all = concat(body, [past.positions, body.node("Unsqueeze", [newPositions, body.int64([0])], [1, "t"])], 1);
  const lowest = window === null ? body.float32([-1]) : body.node("Sub", [last, body.float32([window])], [1]);
  const isSeen = body.node("Greater", [all, lowest], all.shape, { type: "bool" });
  const mask = body.node("Where", [isSeen, body.float32([0]), body.float32([HIDDEN_SCORE])], all.shape, {
    type: "float32",
  });
  return {
    cos: body.node("Gather", [past.cos, index], [1, past.cos.shape[1]]),
    sin: body.node("Gather", [past.sin, index], [1, past.sin.shape[1]]),
    mask,
    pastAndNew: concat(body, [slots, count], 0),
    pastKeys: past.keys,
    pastValues: past.values,
    ...extension(body, made),
  };
}

/** Puts each layer's new key and value behind those of `made` [2 * layers, K, t, D]. */
function extension(graph: Graph, made: Value): Pick<StackInputs, "extend"> {
  const layers = (made.shape[0] as number) / 2;
  const [, heads, rows, width] = made.shape;
  const parts = graph.nodes(
    "Split",
    [made, graph.int64(new Array(2 * layers).fill(1))],
    new Array(2 * layers).fill([1, heads, rows, width]),
    { attributes: { axis: 0 } },
  );
  return {
    extend: (layer, key, value) => [
      concat(graph, [parts[2 * layer], key], 2),
      concat(graph, [parts[2 * layer + 1], value], 2),
    ],
  };
}

/** Keys and values of all layers in one value: [2 * layers, K, t, D]. */
function joinRows(graph: Graph, keysAndValues: Value[]): Value {
  return concat(graph, keysAndValues, 0);
}

/** Byte and hash n-gram embedding of the last of `ids` [g]: [1, h] (blt-spec section 5.1). */
function embeddingRow(context: LoopContext, ids: Value): Value {
  const { graph: body, checkpoint } = context;
  const { hash, encoder } = checkpoint.config;
  const shape = [1, encoder.hiddenSize];
  const bytes = floatTable(context, checkpoint.tensors.get("model.local_encoder.embed_tokens.weight")!);
  let row = body.node("Gather", [bytes, lastOf(body, ids)], shape);
  for (let fn = 0, slot = 0; fn < hash.functions; fn++)
    for (const size of hash.groupSizes) {
      const table = { ...checkpoint.hashTables[slot], name: `hash table ${slot}` };
      const group = body.node("Slice", [ids, body.int64([-size]), body.int64([2 ** 31 - 1])], [size]);
      const products = body.node("Mul", [group, body.int64(hashMultipliers(fn, size))], [size]);
      // Wraps at 64 bits as the hash wants it; ReduceSum of int64 goes through floating point.
      const sums = body.node("CumSum", [products, body.int64([0], [])], [size]);
      const bucket = body.node("Mod", [lastOf(body, sums), body.int64([hash.vocab])], [1]);
      row = body.node("Add", [row, tableRow(context, table, bucket, shape)], shape);
      slot++;
    }
  return row;
}

function tableRow({ graph: body }: Context, table: HashTableLocation, bucket: Value, shape: number[]): Value {
  const row = toFloat(body, body.node("Gather", [body.weight(table), bucket], shape));
  if (table.scales === null) return row;
  const scales = body.weight({ ...table.scales, name: `${table.name}, scales` });
  return body.node("Mul", [row, toFloat(body, body.node("Gather", [scales, bucket], [1]))], shape);
}

function floatTable({ graph }: Pick<GraphContext, "graph">, location: TensorLocation): Value {
  return toFloat(graph, graph.weight(location));
}

interface RuleValues {
  ids: Value;
  id: Value;
  /** States of the open patch, this id's included: as many as it has ids. */
  openStates: Value;
  entropy: Value;
  position: Value;
  previous: Value;
}

/** Whether the position after this one starts a patch: `createPatchRule`, from its fourth position on. Bool []. */
function closesPatch(
  body: Graph,
  patching: PatchingConfig,
  { ids, id, openStates, entropy, position, previous }: RuleValues,
): Value {
  const bool = { type: "bool" } as const;
  const above = (value: Value, threshold: number) =>
    body.node("Greater", [value, body.float32([threshold])], [1], bool);
  const both = (a: Value, b: Value) => body.node("And", [a, b], [1], bool);
  const rise = () => body.node("Sub", [entropy, previous], [1]);
  const flagOf = (which: Value, flags: boolean[]) =>
    body.node("Equal", [body.node("Gather", [body.int64(flags.map(Number)), which], [1]), body.int64([1])], [1], bool);
  const each = (test: (id: number) => boolean) => Array.from({ length: VOCABULARY_SIZE }, (_, i) => test(i));
  const wanted = (): Value => {
    switch (patching.mode) {
      case "entropy":
        if (patching.monotonic) return above(rise(), patching.threshold);
        if (patching.thresholdAdd === null) return above(entropy, patching.threshold);
        return both(above(entropy, patching.threshold), above(rise(), patching.thresholdAdd));
      case "space": {
        const before = body.node("Slice", [ids, body.int64([-2]), body.int64([-1])], [1]);
        const begins = both(
          flagOf(id, each(isSeparator)),
          body.node("Not", [flagOf(before, each(isSeparator))], [1], bool),
        );
        return body.node(
          "Or",
          [
            flagOf(
              id,
              each((i) => i < BYTE_OFFSET),
            ),
            begins,
          ],
          [1],
          bool,
        );
      }
      case "static": {
        const next = body.node("Add", [position, body.int64([1])], [1]);
        return body.node(
          "Equal",
          [body.node("Mod", [next, body.int64([patching.patchSize])], [1]), body.int64([0])],
          [1],
          bool,
        );
      }
      default:
        return body.node("Equal", [id, id], [1], bool);
    }
  };
  const open = body.node(
    "Slice",
    [body.node("Shape", [openStates], [2], { type: "int64" }), body.int64([0]), body.int64([1])],
    [1],
  );
  const atLeast = (count: number) => body.node("Greater", [open, body.int64([count - 1])], [1], bool);
  let closes = both(wanted(), atLeast(patching.minPatchLength));
  if (patching.maxPatchLength !== null) closes = body.node("Or", [closes, atLeast(patching.maxPatchLength)], [1], bool);
  return scalar(body, closes);
}

/** -sum p ln p over a row of logits [1, V], in nats: [1]. */
function entropyOf(body: Graph, logits: Value): Value {
  const logProbs = body.node("LogSoftmax", [logits], logits.shape, { attributes: { axis: -1 } });
  const products = body.node("Mul", [body.node("Exp", [logProbs], logits.shape), logProbs], logits.shape);
  const sum = body.node("ReduceSum", [products, body.int64([1])], [1], { attributes: { keepdims: 0 } });
  return body.node("Neg", [sum], [1]);
}

/** The id with the largest logit of those that are bytes or EOS, the first on ties: int64 [1]. */
function likeliest(body: Graph, logits: Value): Value {
  const impossible = Array.from({ length: VOCABULARY_SIZE }, (_, id) =>
    id < BYTE_OFFSET && id !== EOS ? HIDDEN_SCORE : 0,
  );
  const possible = body.node("Add", [logits, body.float32(impossible, [1, VOCABULARY_SIZE])], logits.shape);
  return body.node("ArgMax", [possible], [1], { type: "int64", attributes: { axis: 1, keepdims: 0 } });
}

function equals(body: Graph, value: Value, constant: number): Value {
  return scalar(body, body.node("Equal", [value, body.int64([constant])], [1], { type: "bool" }));
}

function lastOf(body: Graph, ids: Value): Value {
  return body.node("Slice", [ids, body.int64([-1]), body.int64([2 ** 31 - 1])], [1]);
}

function scalar(graph: Graph, value: Value): Value {
  return graph.node("Reshape", [value, graph.int64([], [0])], []);
}

function constantTrue(graph: Graph): Value {
  return scalar(graph, graph.node("Equal", [graph.int64([0]), graph.int64([0])], [1], { type: "bool" }));
}

function toFloat(graph: Graph, value: Value): Value {
  if (value.type === "float32") return value;
  return graph.node("Cast", [value], value.shape, { type: "float32", attributes: { to: 1 } });
}

function concat(graph: Graph, values: Value[], axis: number): Value {
  if (values.length === 1) return values[0];
  const shape = values[0].shape.map((dim, i) => (i === axis ? "?" : dim));
  return graph.node("Concat", values, shape, { attributes: { axis } });
}

/** Axes whose length changes from turn to turn get names. */
function loose(shape: Value["shape"]): Value["shape"] {
  return shape.map((dim) => (dim === 0 || typeof dim === "string" ? `any.${dim}` : dim));
}
