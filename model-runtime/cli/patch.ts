/** `blt patch`: where the model cuts a text. */
import { encode } from "../ids";
import { entropiesOf } from "../model/entropy-model";
import { patchStarts } from "../patching/patch-lengths";
import { createPatchRule, usesEntropy } from "../patching/patcher-rule";
import type { Command } from "./command";
import { readText } from "./input";
import { loadEntropyModel, modelOptions, openModel } from "./model";
import { chosenPatching, describePatching, patchingOptions } from "./patching";
import { renderPatches } from "./render-patches";

const options = { ...patchingOptions, ...modelOptions };

export const patchCommand: Command<typeof options> = {
  name: "patch",
  positionals: { usage: "FILE|-", least: 1, most: 1 },
  summary: "show where the model cuts a text into patches",
  details: [
    "In a terminal patches have alternating colours, elsewhere | stands between them. Bytes that make no whole character of their patch are shown as \\xE2. Settings that are not given are the checkpoint's.",
    "JSON: model, ids (BOS first), threshold and entropies in nats (one after each id; null in modes that use none), starts (byte offsets of the patches), meanPatchLength in bytes.",
  ],
  options,
  async run({ values, positionals: [path] }, terminal) {
    const checkpoint = openModel(values);
    const patching = chosenPatching(checkpoint.config.patching, values);
    // What is wrong with the settings is said before the text is read.
    createPatchRule(patching);
    const bytes = await readText(path, "there is nothing to cut");
    const ids = encode(bytes);
    let entropies: Float32Array | null = null;
    if (usesEntropy(patching)) {
      const patcher = await loadEntropyModel(checkpoint, values, terminal);
      entropies = await terminal.withProgress("Patching", (onProgress) =>
        entropiesOf(patcher, ids, { patching, onProgress, signal: terminal.signal }),
      );
      await patcher.release();
    }
    const cut = patchStarts(ids, entropies, patching);
    // The first patch is that of BOS, which is no byte.
    const starts = Uint32Array.from(cut.starts.slice(1), (position) => position - 1);
    const meanPatchLength = bytes.length / starts.length;
    if (values.json) {
      const threshold = entropies === null ? null : patching.threshold;
      const model = checkpoint.directory;
      return terminal.writeJson({ model, ids, threshold, entropies, starts, meanPatchLength });
    }
    for (const piece of renderPatches(bytes, starts, { coloured: terminal.isColoured })) await terminal.write(piece);
    const separator = bytes[bytes.length - 1] === 0x0a ? "\n" : "\n\n";
    const lengths = `${bytes.length} bytes, ${starts.length} patches, ${meanPatchLength.toFixed(2)} bytes a patch`;
    await terminal.write(`${separator}${lengths}; ${describePatching(patching)}; ${checkpoint.directory}\n`);
  },
};
