/** An ONNX graph under construction: values with shapes, nodes that make them, weights that lie in files. */
import type { TensorLocation } from "../checkpoint/checkpoint";
import {
  type Attribute,
  type Dim,
  type ElementType,
  encodeModel,
  type GraphRecord,
  type NodeRecord,
  type ValueRecord,
} from "./onnx-format";

interface Shared {
  constants: Map<string, Value>;
  initializers: GraphRecord["initializers"];
  folder: string | null;
  count: number;
}

/** The result of a node, an input or a constant. */
export interface Value {
  name: string;
  type: ElementType;
  shape: Dim[];
}

export interface NodeOptions {
  attributes?: Record<string, Attribute>;
  /** Empty for ONNX's own operators; `com.microsoft` for those of onnxruntime. */
  domain?: "" | "com.microsoft";
  type?: ElementType;
  /**
   * Whether the file says the shapes of the results, for what onnxruntime cannot find out. It gives each dimension that it does not know a name of its own,
   * and what lies in memory of one such size is compared with all others when a graph is loaded: in 30 layers that takes a second. One with "?" is not said.
   */
  isDescribed?: boolean;
}

/**
 * Builds one graph. Every file that holds weights must lie in one folder (`weightFolder`), because that is how
 * onnxruntime maps them into memory without reading them.
 */
export class Graph {
  private readonly record: GraphRecord;
  /** What a graph shares with the bodies of its loops and branches, which see its values. */
  private shared: Shared = { constants: new Map(), initializers: [], folder: null, count: 0 };

  /** @param dims sizes of named dimensions of inputs, where the graph is for these alone */
  constructor(
    name: string,
    private readonly dims: Readonly<Record<string, number>> = {},
  ) {
    this.record = { name, nodes: [], initializers: this.shared.initializers, inputs: [], outputs: [], described: [] };
  }

  /** A body for a loop or a branch of this graph: it sees the graph's values, and its constants lie with the graph's own. */
  body(name: string): Graph {
    const body = new Graph(name, this.dims);
    body.shared = this.shared;
    body.record.initializers = [];
    return body;
  }

  /** This body as the attribute of the node that runs it. */
  asAttribute(): Attribute {
    return { graph: this.record };
  }

  get name(): string {
    return this.record.name;
  }

  /** Nodes in the order in which they were added, each after those it depends on. */
  get nodeRecords(): readonly NodeRecord[] {
    return this.record.nodes;
  }

  /** Names of the graph's results. */
  get outputNames(): string[] {
    return this.record.outputs.map(({ name }) => name);
  }

  /** Inputs and constants, with their shapes. */
  get sources(): readonly ValueRecord[] {
    return [...this.record.inputs, ...this.shared.initializers];
  }

  /** Folder of the weight files; null while no weight has been used. */
  get weightFolder(): string | null {
    return this.shared.folder;
  }

  /** Bytes of the weights the graph points to. */
  get weightBytes(): number {
    return this.shared.initializers.reduce(
      (sum, { data }) => (data instanceof Uint8Array ? sum : sum + data.length),
      0,
    );
  }

  input(name: string, shape: Dim[], type: ElementType = "float32"): Value {
    const value = { name, type, shape: shape.map((dim) => this.dims[dim] ?? dim) };
    this.record.inputs.push(value);
    return value;
  }

  /** The numbers of a constant made by `int64`; null for any other value. */
  wholeNumbers(name: string): number[] | null {
    const found = this.shared.initializers.find((tensor) => tensor.name === name);
    if (found === undefined || found.type !== "int64" || !(found.data instanceof Uint8Array)) return null;
    return Array.from(new BigInt64Array(found.data.slice().buffer), Number);
  }

  /** Marks a value as a result of the graph, under a name of its own. */
  output(name: string, value: Value): void {
    this.record.nodes.push({ opType: "Identity", domain: "", inputs: [value.name], outputs: [name], attributes: {} });
    this.record.outputs.push({ name, type: value.type, shape: value.shape });
  }

  /** A constant of whole numbers (shapes, axes); equal ones are stored once. */
  int64(values: (number | bigint)[], shape: number[] = [values.length]): Value {
    return this.inline("int64", shape, new Uint8Array(BigInt64Array.from(values, (value) => BigInt(value)).buffer));
  }

  float32(values: ArrayLike<number>, shape: number[] = [values.length]): Value {
    return this.inline("float32", shape, new Uint8Array(Float32Array.from(values).buffer));
  }

  uint8(values: ArrayLike<number>, shape: number[] = [values.length]): Value {
    return this.inline("uint8", shape, Uint8Array.from(values));
  }

  int8(values: Int8Array, shape: number[]): Value {
    return this.inline("int8", shape, new Uint8Array(values.buffer, values.byteOffset, values.length));
  }

  /** A tensor of a checkpoint, in its own dtype, mapped from its file. */
  weight(location: TensorLocation): Value {
    const known = this.shared.constants.get(location.name);
    if (known) return known;
    if (this.shared.folder !== null && this.shared.folder !== location.directory)
      throw new Error(`graph ${this.record.name}: weights in ${this.shared.folder} and in ${location.directory}`);
    this.shared.folder = location.directory;
    const type = ({ F32: "float32", F16: "float16", BF16: "bfloat16", I8: "int8", U8: "uint8" } as const)[
      location.dtype
    ];
    const value: Value = { name: location.name, type, shape: location.shape };
    const { file, offset, length } = location;
    this.shared.initializers.push({ name: location.name, type, shape: location.shape, data: { file, offset, length } });
    this.shared.constants.set(location.name, value);
    return value;
  }

  /** Adds a node with one result of the given shape. */
  node(opType: string, inputs: Value[], shape: Dim[], options: NodeOptions = {}): Value {
    return this.nodes(opType, inputs, [shape], options)[0];
  }

  /** Adds a node with several results. The result's type is that of the first input unless said otherwise. */
  nodes(opType: string, inputs: Value[], shapes: Dim[][], options: NodeOptions = {}): Value[] {
    const results = shapes.map((shape) => ({
      name: `${opType}_${this.shared.count++}`,
      type: options.type ?? inputs[0].type,
      shape,
    }));
    if (options.isDescribed) this.record.described.push(...results.filter(({ shape }) => !shape.includes("?")));
    this.record.nodes.push({
      opType,
      domain: options.domain ?? "",
      inputs: inputs.map((value) => value.name),
      outputs: results.map((value) => value.name),
      attributes: options.attributes ?? {},
    });
    return results;
  }

  /** The graph as an ONNX model file. */
  encode(): Uint8Array {
    return encodeModel(this.record);
  }

  private inline(type: ElementType, shape: number[], data: Uint8Array): Value {
    const key = `${type}[${shape}]${data.length <= 64 ? data.join() : this.shared.count++}`;
    const known = this.shared.constants.get(key);
    if (known) return known;
    const value: Value = { name: `constant_${this.shared.count++}`, type, shape };
    this.shared.initializers.push({ name: value.name, type, shape, data });
    this.shared.constants.set(key, value);
    return value;
  }
}
