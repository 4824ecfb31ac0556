/**
 * What short runs of the default model's latent transformer cost by their positions, as drafts are verified: layers and readout, behind the
 * beginning of a file.
 *
 *     npx esbuild test/bench/rows.ts --bundle --platform=node --external:onnxruntime-node --outfile=.cache/rows.js
 *     node .cache/rows.js [--model FOLDER] [--behind 1000] [--rounds 40] [--wasm] FILE
 */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { openLexiconCheckpoint, readVocabulary } from "../../model-runtime/checkpoint/open-lexicon";
import { PieceText } from "../../model-runtime/lexicon/piece-text";
import { Lexicon } from "../../model-runtime/lexicon/pieces";
import { LexiconModel } from "../../model-runtime/model/lexicon-model";

const POSITIONS = [1, 2, 3, 4, 6, 8, 12, 16];

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    options: {
      model: { type: "string", default: "models/default" },
      behind: { type: "string", default: "1000" },
      rounds: { type: "string", default: "40" },
      wasm: { type: "boolean", default: false },
    },
    allowPositionals: true,
  });
  const checkpoint = openLexiconCheckpoint(values.model);
  const { bosPiece, maxPositions, rule } = checkpoint.config;
  const text = new PieceText({ lexicon: new Lexicon(readVocabulary(checkpoint)), rule, bosPiece, maxPositions });
  for (const byte of readFileSync(positionals[0])) text.append(byte);
  const { path } = text.wholePath();
  const behind = Number(values.behind);
  if (path.length < behind + 16) throw new Error(`${positionals[0]} has ${path.length} pieces, not ${behind + 16}`);

  const model = await LexiconModel.load(checkpoint, { device: "cpu", nativeKernels: !values.wasm });
  const { path: latent } = model.createReader();
  const times = new Map(POSITIONS.map((positions) => [positions, [] as number[]]));
  for (let round = 0; round < Number(values.rounds); round++)
    for (const positions of POSITIONS) {
      // What was run before is taken back by another piece in the place of the first.
      await latent.ask(Int32Array.of(...path.subarray(0, behind), path[behind] === 300 ? 301 : 300));
      const start = performance.now();
      latent.expect(path.subarray(0, behind + positions));
      await latent.ask(path.subarray(0, behind + 1));
      times.get(positions)!.push(performance.now() - start);
    }
  await model.release();
  for (const [positions, all] of times) {
    all.sort((a, b) => a - b);
    console.log(`${positions}: ${all[0].toFixed(2)} ms at least, median ${all[all.length >> 1].toFixed(2)}`);
  }
}

main();
