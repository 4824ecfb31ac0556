import assert from "node:assert/strict";
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { hasLexicon } from "../../../model-runtime/checkpoint/lexicon-config";
import {
  type LexiconCheckpoint,
  openLexiconCheckpoint,
  readVocabulary,
} from "../../../model-runtime/checkpoint/open-lexicon";
import { isLexicon, openModel } from "../../../model-runtime/model/load-model";
import { lexiconFolder } from "../lexicon/lexicon-samples";
import { goldenFolder, useTemporaryFolder } from "./fixture";

describe("a checkpoint with a lexicon", () => {
  const path = useTemporaryFolder();

  type Values = Record<string, unknown>;
  type Tokenizer = { model: { vocab: Record<string, number>; merges: unknown[] } };

  /** The golden checkpoint with a change to its config.json or tokenizer file. */
  function changed(change: {
    config?: (config: Values & { lexicon_config: Values; global_config: Values }) => void;
    tokenizer?: (file: Tokenizer) => void;
  }) {
    cpSync(lexiconFolder("blocks"), path("changed"), { recursive: true });
    for (const [file, apply] of [
      ["config.json", change.config],
      ["tokenizer.json", change.tokenizer],
    ] as const) {
      const name = join(path("changed"), file);
      const json = JSON.parse(readFileSync(name, "utf8"));
      apply?.(json);
      writeFileSync(name, JSON.stringify(json));
    }
    return path("changed");
  }

  function check(change: Parameters<typeof changed>[0], message: RegExp) {
    const folder = changed(change);
    assert.throws(() => readVocabulary(openLexiconCheckpoint(folder)), { name: "UserError", message });
  }

  it("names a draft layer that does not fit the latent, and one that is missing", () => {
    const drafter = { hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 4, sliding_window: 6, vocab_size: 5 };
    const withDrafter = (of: Values) => ({
      config: (config: Values) => {
        config.drafter_config = of;
      },
    });
    check(withDrafter(drafter), /the drafter has 1 layers of width 16, but must have one of the latent's width 32/);
    check(
      withDrafter({ ...drafter, hidden_size: 32, num_hidden_layers: 2 }),
      /the drafter has 2 layers of width 32, but must have one/,
    );
    check(withDrafter({ ...drafter, hidden_size: 32, vocab_size: 100_000 }), /vocab_size/);
    check(withDrafter({ ...drafter, hidden_size: 32 }), /model\.lexicon\.drafter\.state_norm\.weight .* is missing/);
  });

  it("is opened with its weights, however they are stored, and its vocabulary", () => {
    const dtypes = ({ tensors }: LexiconCheckpoint) =>
      [...new Set([...tensors.values()].map(({ dtype }) => dtype))].sort();
    const [plain, blocks] = ["plain", "blocks"].map((name) => openLexiconCheckpoint(lexiconFolder(name)));
    assert.deepEqual(dtypes(plain), ["F32"]);
    assert.deepEqual(dtypes(blocks), ["F16", "F32", "I8", "U8"]);
    assert.deepEqual(plain.config, blocks.config);
    const { latent, pieces, bosPiece, eosPiece, maxPositions, patcher } = plain.config;
    assert.deepEqual([latent.layers, latent.heads, latent.kvHeads, latent.headDim], [2, 4, 2, 8]);
    assert.deepEqual([pieces, bosPiece, eosPiece, maxPositions, patcher], [88, 1, 0, 512, null]);
    const vocabulary = readVocabulary(plain);
    assert.deepEqual(vocabulary.pieces.slice(0, 4), [null, null, Uint8Array.of(9), Uint8Array.of(10)]);
    assert.deepEqual(vocabulary.merges[0], [4, 4, 36]);
  });

  it("has blocks with or without minima, and perhaps a readout matrix, as its config.json says", () => {
    const symmetric = openLexiconCheckpoint(lexiconFolder("symmetric"));
    const names = [...symmetric.tensors.keys()];
    assert.deepEqual([symmetric.config.readoutMatrix, names.includes("model.lexicon.readout.weight")], [true, true]);
    assert.deepEqual(
      [symmetric.config.blockForm, names.some((name) => name.endsWith("_min"))],
      ["blt-blocks-symmetric", false],
    );
    const readout = {
      config: (config: Values) => Object.assign(config.lexicon_config as Values, { readout_matrix: true }),
    };
    check(readout, /model.lexicon.readout.weight of shape \[32,32\] is missing/);
    cpSync(lexiconFolder("symmetric"), path("half"), { recursive: true });
    const config = JSON.parse(readFileSync(join(path("half"), "config.json"), "utf8"));
    writeFileSync(join(path("half"), "config.json"), JSON.stringify({ ...config, quantization_config: undefined }));
    assert.throws(() => openLexiconCheckpoint(path("half")), {
      name: "UserError",
      message: /weight_min of shape .* is missing/,
    });
  });

  it("is told from a plain one by its config.json", () => {
    assert.equal(isLexicon(openModel(lexiconFolder("plain"))), true);
    assert.equal(isLexicon(openModel(goldenFolder("k2"))), false);
    assert.equal(hasLexicon({ lexicon_config: {} }), true);
    assert.equal(hasLexicon(undefined), false);
  });

  it("whose configuration misses or contradicts something is refused by name", () => {
    check({ config: (config) => delete config.lexicon_config.word_limit }, /"word_limit" is missing/);
    check(
      { config: (config) => Object.assign(config.lexicon_config, { bos_piece: 5 }) },
      /Piece 5, the bos_piece of .*, is not a special piece/,
    );
    check({ config: (config) => Object.assign(config.lexicon_config, { eos_piece: 88 }) }, /"eos_piece" in .* is 88/);
    check(
      { config: (config) => Object.assign(config.lexicon_config, { tokenizer_file: "../t.json" }) },
      /must be a .json file of the same folder/,
    );
    check(
      { config: (config) => delete config.global_config.max_position_embeddings },
      /"max_position_embeddings" is missing/,
    );
    check(
      { config: (config) => Object.assign(config.global_config, { max_position_embeddings: 100 }) },
      /100 positions are too few/,
    );
    check(
      { config: (config) => Object.assign(config.global_config, { intermediate_size: 96 }) },
      /gate_proj.weight .* shape \[64,1,16\], but config.json implies \[96,1,16\]/,
    );
  });

  it("whose lexicon does not fit the table is refused", () => {
    check(
      { config: (config) => Object.assign(config.lexicon_config, { vocab_size: 87 }) },
      /embedding.weight .*\[88,32\].*implies \[87,32\]/,
    );
    check({ tokenizer: ({ model }) => delete model.vocab.Ġvalue }, /87 pieces in .*, but 88 rows/);
    check({ tokenizer: ({ model }) => Object.assign(model.vocab, { a: 15 }) }, /Two pieces .* number 15/);
    check({ tokenizer: ({ model }) => Object.assign(model.vocab, { a: 88 }) }, /"a" .* has the number 88/);
    check(
      {
        tokenizer: ({ model }) => {
          delete model.vocab.a;
          model.vocab.你 = 14;
        },
      },
      /Piece "你" .* is not in the alphabet/,
    );
    check(
      { tokenizer: ({ model }) => model.merges.push("a x") },
      /Merge "a x" .* is not one of two pieces into a third/,
    );
    check({ tokenizer: (file) => Object.assign(file, { model: { type: "Unigram" } }) }, /no byte-level BPE/);
  });
});
