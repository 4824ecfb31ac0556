import assert from "node:assert/strict";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TensorLocation } from "../../../model-runtime/checkpoint/checkpoint";
import { openLexiconCheckpoint, pieceEmbeddingName } from "../../../model-runtime/checkpoint/open-lexicon";
import { readSafetensorsHeader, readSafetensorsMetadata } from "../../../model-runtime/checkpoint/safetensors";
import { readTensor } from "../../../model-runtime/checkpoint/tensor-data";
import { UserError } from "../../../model-runtime/errors";
import { CausalNetwork } from "../../../model-runtime/model/causal-network";
import { openModel } from "../../../model-runtime/model/load-model";
import { appliedAdapter } from "../../../model-runtime/model/low-rank";
import { pieceLatentGraph } from "../../../model-runtime/model/piece-latent";
import { createSession } from "../../../model-runtime/session";
import {
  adapterCardName,
  adapterConfigName,
  adapterWeightsName,
  readAdapter,
  writeAdapter,
} from "../../../model-runtime/training/adapter-file";
import { fingerprint } from "../../../model-runtime/training/fingerprint";
import { readFloatWeight } from "../../../model-runtime/training/float-weights";
import { adapterBase } from "../../../model-runtime/training/kit";
import { scoreGraph } from "../../../model-runtime/training/piece-graphs";
import { randomAdapter } from "./adapter-fixture";

const lexicon = openModel("test/golden/lexicon/blocks");
const base = adapterBase(lexicon);
const layer = (name: string) => `model.global_transformer.layers.1.${name}`;

const adapterFor = (layers: string[]) => randomAdapter(lexicon, layers);

/** Log-probabilities after each piece by transformers with PEFT (pretraining/golden_adapter.py). */
function goldenLogProbs(): { pieces: number[]; logProbs: Float32Array } {
  const [directory, file] = ["test/golden/adapter", "log_probs.safetensors"];
  const [entry] = readSafetensorsHeader(join(directory, file)).values();
  const { pieces } = readSafetensorsMetadata(join(directory, file));
  return { pieces: JSON.parse(pieces), logProbs: readTensor({ ...entry, file, directory } as TensorLocation) };
}

describe("an adapter that PEFT made", () => {
  const plain = openLexiconCheckpoint("test/golden/lexicon/plain");
  const peft = readAdapter("test/golden/adapter/peft", adapterBase(plain));

  it("is refused where the base's layers are in a basis of their own, and so named", async () => {
    const turned = adapterBase(openLexiconCheckpoint("test/golden/lexicon/symmetric"));
    assert.throws(() => readAdapter("test/golden/adapter/peft", turned), {
      name: "UserError",
      message: /made elsewhere, but the layers of .*symmetric are in a basis of their own/,
    });
    assert.deepEqual([turned.publicName, adapterBase(plain).publicName], [null, "HuggingFaceTB/SmolLM2-135M"]);
  });

  it("has the effect that it has in transformers", async () => {
    const { pieces, logProbs } = goldenLogProbs();
    const adapter = appliedAdapter(peft.lowRank, plain);
    const source = { checkpoint: plain, int8Kernel: "float32" as const };
    const layers = await CausalNetwork.load(() => pieceLatentGraph({ ...source, adapter }), plain.config.latent, {
      device: "cpu",
    });
    const score = await createSession(scoreGraph(source), { device: "cpu" });
    const table = readFloatWeight(plain, pieceEmbeddingName);
    const width = plain.config.latent.hiddenSize;
    const read = Float32Array.from(
      pieces.flatMap((piece) => [...table.data.subarray(piece * width, (piece + 1) * width)]),
    );
    const embedding = { data: read, shape: [pieces.length, width] };
    const { data } = await layers.run(layers.createCache(), pieces.length, { embedding }, null);
    // Only pieces with bytes and EOS are chosen among, so differences between two pieces are compared.
    const [first, second] = [20, 33];
    const logProbOf = async (piece: number) => {
      const targets = { data: new BigInt64Array(pieces.length).fill(BigInt(piece)), shape: [pieces.length, 1] };
      const { scores } = await score.run({ states: { data, shape: [pieces.length, width] }, targets });
      return pieces.map((_, row) => scores[2 * row]);
    };
    const [a, b] = [await logProbOf(first), await logProbOf(second)];
    const vocabulary = table.shape[0];
    pieces.forEach((_, row) => {
      const wanted = logProbs[row * vocabulary + first] - logProbs[row * vocabulary + second];
      assert.ok(Math.abs(a[row] - b[row] - wanted) < 1e-4, `row ${row}: ${a[row] - b[row]}, but ${wanted}`);
    });
    await layers.release();
    await score.release();
  });

  it("is written as the files that a Python test gives to PEFT", async () => {
    const folder = mkdtempSync(join(tmpdir(), "blt-adapter-"));
    await writeAdapter(folder, peft, adapterBase(plain));
    for (const name of [adapterConfigName, adapterWeightsName])
      assert.deepEqual(readFileSync(join(folder, name)), readFileSync(join("test/golden/adapter/ours", name)), name);
    rmSync(folder, { recursive: true });
  });
});

describe("adapter files", () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "blt-adapter-"));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it("give back what was written", async () => {
    const adapter = adapterFor([layer("self_attn.q_proj"), layer("self_attn.v_proj"), layer("mlp.down_proj")]);
    await writeAdapter(folder, adapter, base);
    assert.deepEqual(readAdapter(folder, base), adapter);
  });

  it("have PEFT's names, and rows of q and k in halves", async () => {
    const adapter = adapterFor([layer("self_attn.q_proj"), layer("self_attn.o_proj")]);
    await writeAdapter(folder, adapter, base);
    const config = JSON.parse(readFileSync(join(folder, adapterConfigName), "utf8"));
    assert.deepEqual(config.target_modules, ["model.layers.1.self_attn.q_proj", "model.layers.1.self_attn.o_proj"]);
    assert.deepEqual([config.peft_type, config.r, config.lora_alpha], ["LORA", 2, 4]);
    // Read as if nothing were permuted: row 1 of the file is our row 2, the second real part.
    const plain = readAdapterAs(folder);
    const b = adapter.lowRank.parts.get(layer("self_attn.q_proj"))!.b;
    assert.deepEqual(plain.get("model.layers.1.self_attn.q_proj")!.subarray(2, 4), b.subarray(4, 6));
    const o = adapter.lowRank.parts.get(layer("self_attn.o_proj"))!.b;
    assert.deepEqual(plain.get("model.layers.1.self_attn.o_proj"), o);
  });

  const refusals: { name: string; spoil: (folder: string) => void; sentence: RegExp }[] = [
    {
      name: "a folder without an adapter",
      spoil: (f) => rmSync(join(f, adapterConfigName)),
      sentence: /holds no adapter \(adapter_config.json is missing\)/,
    },
    {
      name: "an adapter of another base model",
      spoil: (f) => edit(join(f, adapterCardName), (card) => ({ ...card, base: "0".repeat(64) })),
      sentence: /was trained on another model than/,
    },
    {
      name: "another kind of adapter",
      spoil: (f) => edit(join(f, adapterConfigName), (config) => ({ ...config, peft_type: "IA3" })),
      sentence: /no plain LoRA adapter/,
    },
    {
      name: "a rank that the tensors do not have",
      spoil: (f) => edit(join(f, adapterConfigName), (config) => ({ ...config, r: 3 })),
      sentence: /must have the shape \[3,\d+\], but has \[2,\d+\]/,
    },
    {
      name: "a truncated file",
      spoil: (f) => truncateSync(join(f, adapterWeightsName), statSync(join(f, adapterWeightsName)).size - 8),
      sentence: /is damaged, incomplete or no safetensors file/,
    },
    {
      name: "numbers that are not finite",
      spoil: (f) => {
        const path = join(f, adapterWeightsName);
        const bytes = readFileSync(path);
        bytes.writeFloatLE(Number.NaN, bytes.length - 4);
        writeFileSync(path, bytes);
      },
      sentence: /holds numbers that are not finite/,
    },
    {
      name: "weights of another kind",
      spoil: (f) => copyFileSync("test/golden/lexicon/plain/model.safetensors", join(f, adapterWeightsName)),
      sentence: /is no part of a plain LoRA adapter/,
    },
  ];
  for (const { name, spoil, sentence } of refusals)
    it(`refuse ${name}`, async () => {
      await writeAdapter(folder, adapterFor([layer("self_attn.q_proj")]), base);
      spoil(folder);
      assert.throws(
        () => readAdapter(folder, base),
        (error) => error instanceof UserError && sentence.test(error.message),
      );
    });

  it("refuse layers that the model does not have", async () => {
    await writeAdapter(folder, adapterFor([layer("self_attn.q_proj")]), base);
    rmSync(join(folder, adapterCardName));
    const other = adapterBase(openModel("test/golden/k4"));
    assert.throws(() => readAdapter(folder, other), /which the model does not have/);
  });

  it("tell models apart whose tensors have the same names and shapes", () => {
    assert.notEqual(fingerprint(lexicon), fingerprint(openModel("test/golden/lexicon/plain")));
  });
});

/** B of each layer by its name in the file, as it lies there. */
function readAdapterAs(folder: string): Map<string, Float32Array> {
  const bytes = readFileSync(join(folder, adapterWeightsName));
  const length = Number(bytes.readBigUInt64LE());
  const header = JSON.parse(bytes.subarray(8, 8 + length).toString());
  const entries = Object.entries(header as Record<string, { data_offsets: [number, number] }>);
  return new Map(
    entries
      .filter(([name]) => name.endsWith("lora_B.weight"))
      .map(
        ([
          name,
          {
            data_offsets: [from, to],
          },
        ]) => [
          name.slice("base_model.model.".length, -".lora_B.weight".length),
          new Float32Array(Uint8Array.from(bytes.subarray(8 + length + from, 8 + length + to)).buffer),
        ],
      ),
  );
}

function edit(path: string, change: (json: Record<string, unknown>) => Record<string, unknown>): void {
  writeFileSync(path, JSON.stringify(change(JSON.parse(readFileSync(path, "utf8")))));
}
