/** Reverse-mode differentiation: adds nodes to a graph that compute gradients of a value of the same graph. */
import { gradientRules, type Operation } from "./gradient-rules";
import type { Graph, Value } from "./graph";
import type { NodeRecord } from "./onnx-format";
import { inferShapes, type Shape, sizeOf } from "./shapes";

/**
 * Gradients of `loss` (one element) by each of `parameters`, in their shapes, as values of the same graph.
 * Throws by name for an operator without a rule on the way, and for a parameter that the loss does not depend on. All
 * inputs of the graph must have known sizes.
 * @param kept values at which the graph is cut into segments: their backward pass computes the segment's values anew
 *   from them, so that a run need not hold these in between (activation checkpointing, arXiv 1604.06174)
 */
export function gradients(
  graph: Graph,
  loss: Value,
  parameters: readonly Value[],
  kept: readonly Value[] = [],
): Value[] {
  const tape = new Tape(graph);
  if (sizeOf(tape.shapes.get(loss.name)!) !== 1) throw new Error(`graph ${graph.name}: the loss is not one number`);
  const forward = [...graph.nodeRecords];
  const dependent = reachedFrom(forward, parameters);
  const backward = forward.filter((node) => node.outputs.some((name) => dependent.has(name)));
  const segmentOf = segments(backward, kept);

  tape.add(loss.name, graph.float32([1], [...tape.shapes.get(loss.name)!]));
  let recomputed: Recomputed | null = null;
  for (const node of [...backward].reverse()) {
    const dz = node.outputs.map((name) => tape.gradient(name));
    if (dz.every((gradient) => gradient === null)) continue;
    const segment = segmentOf.get(node)!;
    if (segment < kept.length && recomputed?.segment !== segment)
      recomputed = recompute(tape, forward, backward, segmentOf, segment, dz.find((gradient) => gradient !== null)!);
    const stand = segment < kept.length ? recomputed : null;
    const operation = operationOf(tape, node, dependent, stand);
    const rule = gradientRules[node.opType];
    if (rule === undefined)
      throw new Error(`graph ${graph.name}: no gradient can be taken through ${node.opType} (${node.outputs[0]})`);
    rule(graph, operation, dz).forEach((gradient, i) => {
      if (gradient !== null && operation.wanted[i]) tape.add(node.inputs[i], gradient);
    });
  }
  return parameters.map((parameter) => {
    const gradient = tape.gradient(parameter.name);
    if (gradient === null)
      throw new Error(`graph ${graph.name}: the loss does not depend on the parameter ${parameter.name}`);
    return gradient;
  });
}

/** Gradients found so far, and all shapes. */
class Tape {
  readonly shapes: Map<string, Shape>;
  private readonly found = new Map<string, Value>();

  constructor(readonly graph: Graph) {
    this.shapes = inferShapes(graph);
  }

  add(name: string, gradient: Value): void {
    const known = this.found.get(name);
    const shape = [...this.shapes.get(name)!];
    this.found.set(
      name,
      known === undefined ? { ...gradient, shape } : this.graph.node("Add", [known, gradient], shape),
    );
  }

  gradient(name: string): Value | null {
    return this.found.get(name) ?? null;
  }

  value(name: string): Value {
    return { name, type: "float32", shape: [...this.shapes.get(name)!] };
  }
}

/** Names of the values that depend on `parameters`, themselves included. */
function reachedFrom(nodes: readonly NodeRecord[], parameters: readonly Value[]): Set<string> {
  const reached = new Set(parameters.map(({ name }) => name));
  for (const { inputs, outputs } of nodes)
    if (inputs.some((name) => reached.has(name))) for (const name of outputs) reached.add(name);
  return reached;
}

/** Segment of each node: the number of kept values that are known before it. */
function segments(nodes: readonly NodeRecord[], kept: readonly Value[]): Map<NodeRecord, number> {
  const segmentOf = new Map<NodeRecord, number>();
  const names = new Set(kept.map(({ name }) => name));
  let segment = 0;
  for (const node of nodes) {
    segmentOf.set(node, segment);
    if (node.outputs.some((name) => names.has(name))) segment++;
  }
  return segmentOf;
}

/** Values of a segment computed a second time: name -> what stands for it. */
interface Recomputed {
  segment: number;
  names: Map<string, string>;
}

/**
 * Repeats the nodes of a segment. Their inputs from outside are taken through a node that waits for `after`, the
 * gradient that reaches the segment: else onnxruntime would merge the copies with the originals, or run them early.
 */
function recompute(
  tape: Tape,
  forward: readonly NodeRecord[],
  backward: readonly NodeRecord[],
  segmentOf: Map<NodeRecord, number>,
  segment: number,
  after: Value,
): Recomputed {
  const { graph } = tape;
  const own = backward.filter((node) => segmentOf.get(node) === segment);
  const made = new Set(forward.flatMap(({ outputs }) => outputs));
  const names = new Map<string, string>();
  const nothing = graph.node("Mul", [graph.node("ReduceMean", [after], []), graph.float32([0], [])], [], {});
  const flat = graph.node("Reshape", [nothing, graph.int64([], [0])], []);
  for (const node of own) {
    const inputs = node.inputs.map((name) => {
      if (!names.has(name) && made.has(name) && backward.some(({ outputs }) => outputs.includes(name)))
        names.set(name, graph.node("Add", [tape.value(name), flat], [...tape.shapes.get(name)!]).name);
      return { ...tape.value(name), name: names.get(name) ?? name };
    });
    const shapes = node.outputs.map((name) => [...tape.shapes.get(name)!]);
    const { attributes, domain } = node;
    const copies = graph.nodes(node.opType, inputs, shapes, { attributes, domain: domain as "" });
    node.outputs.forEach((name, i) => {
      names.set(name, copies[i].name);
    });
  }
  return { segment, names };
}

function operationOf(
  tape: Tape,
  node: NodeRecord,
  dependent: ReadonlySet<string>,
  recomputed: Recomputed | null,
): Operation {
  const value = (name: string) => ({ ...tape.value(name), name: recomputed?.names.get(name) ?? name });
  return {
    opType: node.opType,
    attributes: node.attributes,
    inputs: node.inputs.map(value),
    outputs: node.outputs.map(value),
    wanted: node.inputs.map((name) => dependent.has(name)),
    wholeNumbers: (input) => tape.graph.wholeNumbers(node.inputs[input])!,
  };
}
