/**
 * What weights of 8 and of 4 bits cost in quality: bits per byte of a checkpoint and of its quantised forms with each kernel.
 *
 *     npx tsx test/bench/quantization.ts MODEL FILE...
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openCheckpoint } from "../../model-runtime/checkpoint/open-checkpoint";
import { quantizeCheckpoint } from "../../model-runtime/checkpoint/quantize";
import { scoreText, summarizeScores, type TextScore } from "../../model-runtime/evaluate";
import { Blt } from "../../model-runtime/model/blt";
import { type Int8Kernel, int8Kernels } from "../../model-runtime/model/linear";

const [directory, ...files] = process.argv.slice(2);

async function bitsPerByte(checkpoint: string, int8Kernel?: Int8Kernel): Promise<number> {
  const model = await Blt.load(openCheckpoint(checkpoint), { device: "cpu", int8Kernel });
  const scores: TextScore[] = [];
  for (const file of files) scores.push(await scoreText(model, readFileSync(file)));
  await model.release();
  return summarizeScores(scores).bpb;
}

async function main(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "blt-quantised-"));
  try {
    const reference = await bitsPerByte(directory);
    console.log(`| weights | int8 kernel | bits per byte | loss |\n|---|---|---|---|`);
    console.log(`| as given | float32 | ${reference.toFixed(4)} | |`);
    for (const bits of [8, 4] as const) {
      const output = join(folder, `${bits}`);
      await quantizeCheckpoint(openCheckpoint(directory), output, { bits });
      for (const kernel of int8Kernels) {
        const bpb = await bitsPerByte(output, kernel);
        console.log(`| ${bits} bits | ${kernel} | ${bpb.toFixed(4)} | ${(bpb - reference).toFixed(4)} |`);
      }
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}

void main();
