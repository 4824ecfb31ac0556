/**
 * What is shown and whether it is right, by the confidence asked for: the model's line through the server's cuts, at places
 * in real code. `npx esbuild test/bench/shown.ts --bundle --platform=node --external:onnxruntime-node --outfile=dist/shown.js`,
 * then `node dist/shown.js --places N FOLDER...`; each folder is a project.
 */
import { parseArgs } from "node:util";
import { generate } from "../../model-runtime/generation/generate";
import { createRandom } from "../../model-runtime/generation/random";
import { encode } from "../../model-runtime/ids";
import { loadModel, openModel } from "../../model-runtime/model/load-model";
import { toInsertion } from "../../server/completion";
import type { Context } from "../../server/context";
import { createStopRule } from "../../server/extent";
import { confidentLength } from "../../server/gate";
import { lastLines, type Place, placesIn } from "./lib/places";

const thresholds = [0, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];

interface Written {
  bytes: Uint8Array;
  logProbs: Float64Array;
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    options: {
      places: { type: "string", default: "20" },
      model: { type: "string", default: "models/default" },
      context: { type: "string", default: "1500" },
    },
    allowPositionals: true,
  });
  const model = await loadModel(openModel(values.model), { device: "cpu" });
  const random = createRandom(5);
  const places = positionals.flatMap((folder) => placesIn(folder, Number(values.places), random));
  const all: { place: Place; written: Written }[] = [];
  for (const place of places) {
    const text = model.createSequence();
    const bytes: number[] = [];
    const logProbs: number[] = [];
    const isEnough = createStopRule({ kind: "line" });
    const prompt = encode(Buffer.from(lastLines(place.prefix, Number(values.context))));
    for await (const { byte, logProb } of generate(text, prompt, { temperature: 0, maxBytes: 120 })) {
      if (isEnough(byte)) break;
      bytes.push(byte);
      logProbs.push(logProb);
    }
    all.push({ place, written: { bytes: Uint8Array.from(bytes), logProbs: Float64Array.from(logProbs) } });
  }
  console.log(`${all.length} places; right: what is shown is what stands there.\n`);
  console.log(
    "| confidence | shown | right, of the shown | characters shown | of them right | right characters a place |",
  );
  console.log("| ---: | ---: | ---: | ---: | ---: | ---: |");
  for (const threshold of thresholds) {
    let [shown, right, characters, rightCharacters] = [0, 0, 0, 0];
    for (const { place, written } of all) {
      const text = suggestion(place, written, threshold);
      if (text === null) continue;
      shown++;
      characters += text.length;
      const common = commonLength(text, place.rest);
      rightCharacters += common;
      if (common === text.length) right++;
    }
    const share = (part: number, whole: number) => (whole === 0 ? "-" : `${((100 * part) / whole).toFixed(0)} %`);
    const cells = [
      threshold,
      share(shown, all.length),
      share(right, shown),
      (characters / Math.max(1, shown)).toFixed(1),
    ];
    console.log(
      `| ${[...cells, share(rightCharacters, characters), (rightCharacters / all.length).toFixed(1)].join(" | ")} |`,
    );
  }
  for (const { place, written } of all.slice(0, 40)) {
    const text = suggestion(place, written, 0.6);
    console.log(JSON.stringify([place.prefix.split("\n").at(-1), text, place.rest]));
  }
}

/** What is shown at a place where nothing stands behind the cursor; null when nothing is. */
function suggestion({ prefix, suffix }: Place, { bytes, logProbs }: Written, minConfidence: number): string | null {
  const length = confidentLength(bytes, logProbs, minConfidence);
  const text = lastLines(prefix, 1500);
  const context: Context = { front: "", text, source: text, lineRest: "", following: suffix.slice(0, 2000), eol: "\n" };
  const insertion = toInsertion(Buffer.from(bytes.subarray(0, length)).toString(), context, { invoked: false });
  return "reason" in insertion ? null : insertion.text.slice(insertion.replacesBefore);
}

function commonLength(a: string, b: string): number {
  let length = 0;
  while (length < Math.min(a.length, b.length) && a[length] === b[length]) length++;
  return length;
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
