import assert from "node:assert/strict";
import type { TensorLocation } from "../../../model-runtime/checkpoint/checkpoint";
import { openCheckpoint } from "../../../model-runtime/checkpoint/open-checkpoint";
import { openLexiconCheckpoint, pieceEmbeddingName } from "../../../model-runtime/checkpoint/open-lexicon";
import { readSafetensorsHeader, readSafetensorsMetadata } from "../../../model-runtime/checkpoint/safetensors";
import { readTensor } from "../../../model-runtime/checkpoint/tensor-data";
import { gradients } from "../../../model-runtime/graph/gradients";
import type { Graph, Value } from "../../../model-runtime/graph/graph";
import { Blt } from "../../../model-runtime/model/blt";
import { RotaryTable } from "../../../model-runtime/model/rotary";
import { createSession, type Feeds } from "../../../model-runtime/session";
import { byteNetwork } from "../../../model-runtime/training/byte-graphs";
import { encodeRow } from "../../../model-runtime/training/byte-trainee";
import { type FloatWeight, readFloatWeight } from "../../../model-runtime/training/float-weights";
import { crossEntropy } from "../../../model-runtime/training/loss";
import { pieceNetwork } from "../../../model-runtime/training/piece-graphs";
import { type PieceRow, sequenceFeeds } from "../../../model-runtime/training/piece-rows";

/** PyTorch's loss and gradients (pretraining/golden_gradients.py). */
function golden(name: string): { read: number[]; tensors: Map<string, Float32Array> } {
  const [directory, file] = ["test/golden/gradients", `${name}.safetensors`];
  const path = `${directory}/${file}`;
  const tensors = new Map(
    [...readSafetensorsHeader(path).values()].map((entry) => [
      entry.name,
      readTensor({ ...entry, file, directory } as TensorLocation),
    ]),
  );
  return { read: JSON.parse(readSafetensorsMetadata(path).ids), tensors };
}

interface Network {
  graph: Graph;
  logits: Value;
  weights: ReadonlyMap<string, FloatWeight>;
  weightValues: ReadonlyMap<string, Value>;
}

/** Takes the gradient of the mean loss by every weight, and compares. */
async function compare(
  { graph, logits, weights, weightValues }: Network,
  feeds: Feeds,
  targets: number[],
  expected: Map<string, Float32Array>,
  kept: Value[] = [],
): Promise<void> {
  const count = targets.length;
  const { loss } = crossEntropy(
    graph,
    logits,
    graph.int64(targets, [count, 1]),
    graph.float32(new Float32Array(count).fill(1 / count), [count, 1]),
    0,
  );
  graph.output("loss", loss);
  const names = [...weights.keys()];
  gradients(graph, loss, [...weightValues.values()], kept).forEach((gradient, i) => {
    graph.output(`d ${names[i]}`, gradient);
  });
  for (const [name, { data, shape }] of weights) feeds[name] = { data, shape };
  const session = await createSession(graph, { device: "cpu" });
  const results = await session.run(feeds);
  await session.release();
  assert.ok(Math.abs(results.loss[0] - expected.get("loss")![0]) < 1e-4);
  assert.deepEqual(new Set(["loss", ...names]), new Set(expected.keys()));
  for (const name of names) {
    const [found, wanted] = [results[`d ${name}`], expected.get(name)!];
    const scale = Math.max(1, ...wanted.map(Math.abs));
    const farthest = found.reduce((most, value, i) => Math.max(most, Math.abs(value - wanted[i])), 0);
    assert.ok(farthest < 1e-4 * scale, `${name}: off by ${farthest}, largest ${scale}`);
    assert.ok(
      wanted.some((value) => Math.abs(value) > 1e-4),
      `${name} has no gradient to compare`,
    );
  }
}

function pieceRow(pieces: number[]): PieceRow {
  const count = pieces.length - 1;
  const zeros = new Int32Array(count);
  return {
    bytes: 0,
    predictions: count,
    weight: count,
    pieces: Int32Array.from(pieces.slice(0, -1)),
    targets: Int32Array.from(pieces.slice(1)),
    starts: zeros,
    weights: new Float32Array(count).fill(1),
  };
}

describe("gradients of whole models against PyTorch", () => {
  for (const checkpointed of [false, true])
    it(`a latent transformer over pieces${checkpointed ? ", layers computed anew" : ""}`, async () => {
      const checkpoint = openLexiconCheckpoint("test/golden/lexicon/plain");
      const { read, tensors } = golden("lexicon");
      const row = pieceRow(read);
      const positions = row.pieces.length;
      const network = pieceNetwork(
        "whole",
        checkpoint,
        { firstTrained: 0, positions, known: new Map() },
        () => undefined,
      );
      const { latent } = checkpoint.config;
      const table = readFloatWeight(checkpoint, pieceEmbeddingName);
      const readout = network.graph.input(pieceEmbeddingName, table.shape);
      const logits = network.graph.node("Gemm", [network.states, readout], [positions, table.shape[0]], {
        attributes: { transB: 1 },
      });
      const hidden = new Float32Array(positions * latent.hiddenSize);
      row.pieces.forEach((piece, i) => {
        const width = latent.hiddenSize;
        hidden.set(table.data.subarray(piece * width, (piece + 1) * width), i * width);
      });
      const feeds: Feeds = {
        ...sequenceFeeds(row, new RotaryTable(latent.ropeTheta, latent.headDim), latent.headDim),
        hidden: { data: hidden, shape: [positions, latent.hiddenSize] },
      };
      const whole = {
        graph: network.graph,
        logits,
        weights: new Map([...network.weights, [pieceEmbeddingName, table]]),
        weightValues: new Map([...network.weightValues, [pieceEmbeddingName, readout]]),
      };
      const kept = checkpointed ? network.layerOutputs : [];
      await compare(whole, feeds, [...row.targets], tensors, kept);
    });

  it("a plain BLT: latent transformer and local decoder", async () => {
    const checkpoint = openCheckpoint("test/golden/k4");
    const { read, tensors } = golden("k4");
    const model = await Blt.load(checkpoint, { device: "cpu" });
    // Room for more patches than there are, which must not matter.
    const sizes = { bytes: read.length - 1, patches: read.length };
    const { feeds, count } = await encodeRow(model, sizes, Uint16Array.from(read));
    await model.release();
    assert.equal(count, read.length - 1);
    const network = byteNetwork(checkpoint, sizes, () => undefined);
    const { targets, ...inputs } = feeds;
    await compare(network, inputs, Array.from(targets.data as BigInt64Array, Number), tensors);
  });
});
