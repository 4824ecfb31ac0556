/**
 * What int8 costs in quality: bits per byte of a checkpoint and of its int8 form with each kernel.
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
  const folder = mkdtempSync(join(tmpdir(), "blt-int8-"));
  try {
    await quantizeCheckpoint(openCheckpoint(directory), join(folder, "int8"), {});
    const reference = await bitsPerByte(directory);
    console.log(`| weights | kernel | bits per byte | loss |\n|---|---|---|---|`);
    console.log(`| as given | float32 | ${reference.toFixed(4)} | |`);
    for (const kernel of int8Kernels) {
      const bpb = await bitsPerByte(join(folder, "int8"), kernel);
      console.log(`| int8 | ${kernel} | ${bpb.toFixed(4)} | ${(bpb - reference).toFixed(4)} |`);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}

void main();
