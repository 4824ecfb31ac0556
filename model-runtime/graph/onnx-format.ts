/**
 * Writes a graph as an ONNX model file (the protobuf messages of onnx.proto, IR version 10).
 * Only what our graphs use is written: nodes, attributes, initializers (inline or external), inputs, outputs and some shapes.
 */
import { Writer } from "protobufjs/minimal";

export type ElementType = "float32" | "uint8" | "int8" | "int32" | "int64" | "bool" | "float16" | "bfloat16";
/** A dimension: a number, or the name of one that is known at run time. */
export type Dim = number | string;
/** Whole numbers are written as INT, other numbers as FLOAT (give `{ float }` for a float that happens to be whole). */
export type Attribute = number | string | number[] | { float: number } | { graph: GraphRecord };

export interface NodeRecord {
  opType: string;
  domain: string;
  inputs: string[];
  outputs: string[];
  attributes: Record<string, Attribute>;
}

export interface TensorRecord {
  name: string;
  type: ElementType;
  shape: number[];
  /** Little-endian data, or the place of the data in a file of the model's folder. */
  data: Uint8Array | { file: string; offset: number; length: number };
}

export interface ValueRecord {
  name: string;
  type: ElementType;
  shape: Dim[];
}

export interface GraphRecord {
  name: string;
  nodes: NodeRecord[];
  initializers: TensorRecord[];
  inputs: ValueRecord[];
  outputs: ValueRecord[];
  /** Results of nodes whose shapes are said. */
  described: ValueRecord[];
}

/** The ONNX model file of a graph. */
export function encodeModel(graph: GraphRecord): Uint8Array {
  const w = Writer.create();
  w.uint32(field(1, VARINT)).int64(10);
  w.uint32(field(2, BYTES)).string("blt-code");
  message(w, 7, (g) => encodeGraph(g, graph));
  for (const [domain, version] of [
    ["", 21],
    ["com.microsoft", 1],
  ] as const)
    message(w, 8, (o) => {
      o.uint32(field(1, BYTES)).string(domain);
      o.uint32(field(2, VARINT)).int64(version);
    });
  return w.finish();
}

const VARINT = 0;
const BYTES = 2;
const FIXED32 = 5;

const elementCode: Record<ElementType, number> = {
  float32: 1,
  uint8: 2,
  int8: 3,
  int32: 6,
  int64: 7,
  bool: 9,
  float16: 10,
  bfloat16: 16,
};

function field(number: number, wire: number): number {
  return (number << 3) | wire;
}

function message(w: Writer, number: number, body: (w: Writer) => void): void {
  w.uint32(field(number, BYTES)).fork();
  body(w);
  w.ldelim();
}

function encodeGraph(w: Writer, graph: GraphRecord): void {
  for (const node of graph.nodes) message(w, 1, (n) => encodeNode(n, node));
  w.uint32(field(2, BYTES)).string(graph.name);
  for (const tensor of graph.initializers) message(w, 5, (t) => encodeTensor(t, tensor));
  for (const value of graph.inputs) message(w, 11, (v) => encodeValue(v, value));
  for (const value of graph.outputs) message(w, 12, (v) => encodeValue(v, value));
  for (const value of graph.described) message(w, 13, (v) => encodeValue(v, value));
}

function encodeNode(w: Writer, node: NodeRecord): void {
  for (const name of node.inputs) w.uint32(field(1, BYTES)).string(name);
  for (const name of node.outputs) w.uint32(field(2, BYTES)).string(name);
  w.uint32(field(3, BYTES)).string(node.outputs[0]);
  w.uint32(field(4, BYTES)).string(node.opType);
  for (const [name, value] of Object.entries(node.attributes)) message(w, 5, (a) => encodeAttribute(a, name, value));
  w.uint32(field(7, BYTES)).string(node.domain);
}

function encodeAttribute(w: Writer, name: string, value: Attribute): void {
  const [FLOAT, INT, STRING, GRAPH, INTS] = [1, 2, 3, 5, 7];
  w.uint32(field(1, BYTES)).string(name);
  let type: number;
  if (typeof value === "string") {
    w.uint32(field(4, BYTES)).string(value);
    type = STRING;
  } else if (Array.isArray(value)) {
    for (const item of value) w.uint32(field(8, VARINT)).int64(item);
    type = INTS;
  } else if (typeof value === "object" && "graph" in value) {
    message(w, 6, (g) => encodeGraph(g, value.graph));
    type = GRAPH;
  } else if (typeof value === "number" && Number.isInteger(value)) {
    w.uint32(field(3, VARINT)).int64(value);
    type = INT;
  } else {
    w.uint32(field(2, FIXED32)).float(typeof value === "number" ? value : value.float);
    type = FLOAT;
  }
  w.uint32(field(20, VARINT)).int32(type);
}

function encodeTensor(w: Writer, tensor: TensorRecord): void {
  for (const dim of tensor.shape) w.uint32(field(1, VARINT)).int64(dim);
  w.uint32(field(2, VARINT)).int32(elementCode[tensor.type]);
  w.uint32(field(8, BYTES)).string(tensor.name);
  if (tensor.data instanceof Uint8Array) {
    w.uint32(field(9, BYTES)).bytes(tensor.data);
    return;
  }
  const { file, offset, length } = tensor.data;
  for (const [key, value] of Object.entries({ location: file, offset: String(offset), length: String(length) }))
    message(w, 13, (entry) => {
      entry.uint32(field(1, BYTES)).string(key);
      entry.uint32(field(2, BYTES)).string(value);
    });
  w.uint32(field(14, VARINT)).int32(1);
}

function encodeValue(w: Writer, value: ValueRecord): void {
  w.uint32(field(1, BYTES)).string(value.name);
  message(w, 2, (type) =>
    message(type, 1, (tensor) => {
      tensor.uint32(field(1, VARINT)).int32(elementCode[value.type]);
      message(tensor, 2, (shape) => {
        for (const dim of value.shape)
          message(shape, 1, (d) => {
            if (typeof dim === "number") d.uint32(field(1, VARINT)).int64(dim);
            else d.uint32(field(2, BYTES)).string(dim);
          });
      });
    }),
  );
}
