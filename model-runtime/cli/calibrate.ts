/** `blt calibrate`: the threshold that gives patches of a wanted mean length. */
import { UserError } from "../errors";
import { encode } from "../ids";
import { entropiesOf } from "../model/entropy-model";
import { calibrateThreshold, type EntropyDocument } from "../patching/calibrate";
import { createPatchRule } from "../patching/patcher-rule";
import { number } from "./arguments";
import type { Command } from "./command";
import { findTexts, readBytes } from "./input";
import { loadEntropyModel, modelOptions, openEitherKind } from "./model";
import { chosenPatching, patchingOptions } from "./patching";

const { threshold: _, patchSize: __, ...keptOptions } = patchingOptions;

const options = {
  patchLength: number("BYTES", "wanted mean length of a patch"),
  ...keptOptions,
  ...modelOptions,
};

export const calibrateCommand: Command<typeof options> = {
  name: "calibrate",
  positionals: { usage: "PATH... --patch-length BYTES", least: 1, most: Number.POSITIVE_INFINITY },
  summary: "find the entropy threshold for a mean patch length on given files",
  details: [
    "Every other patching setting stays and counts. Files are found as by eval.",
    "JSON: model, threshold in nats, meanPatchLength (what it gives on these files), files, bytes.",
  ],
  options,
  async run({ values, positionals }, terminal) {
    const wanted = values.patchLength;
    if (wanted === undefined) throw new UserError("There is no length to calibrate for; give --patch-length BYTES.");
    const { texts } = findTexts(positionals, terminal);
    const checkpoint = openEitherKind(values);
    const patching = chosenPatching(checkpoint.config.patching, values);
    createPatchRule(patching);
    const patcher = await loadEntropyModel(checkpoint, values, terminal);
    const total = texts.reduce((sum, { bytes }) => sum + bytes, 0);
    const documents: EntropyDocument[] = [];
    await terminal.withProgress("Reading", async (update) => {
      let done = 0;
      for (const { path } of texts) {
        const ids = encode(readBytes(path));
        const onProgress = (read: number) => update(done + read, total);
        documents.push({
          ids,
          entropies: await entropiesOf(patcher, ids, { patching, onProgress, signal: terminal.signal }),
        });
        done += ids.length;
      }
    });
    await patcher.release();
    const { threshold, meanPatchLength } = calibrateThreshold(documents, patching, wanted);
    const bytes = documents.reduce((sum, { ids }) => sum + ids.length - 1, 0);
    if (values.json) {
      const model = checkpoint.directory;
      return terminal.writeJson({ model, threshold, meanPatchLength, files: texts.length, bytes });
    }
    await terminal.write(
      `--threshold ${Number(threshold.toPrecision(9))} gives ${meanPatchLength.toFixed(3)} bytes a patch over ${bytes} bytes\n`,
    );
  },
};
