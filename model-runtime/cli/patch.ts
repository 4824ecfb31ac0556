/** `blt patch`: where the model cuts a text. */
import { renderPatches, views } from "../display/render-patches";
import { UserError } from "../errors";
import { encode } from "../ids";
import { entropiesOf } from "../model/entropy-model";
import { describePatching } from "../patching/describe";
import { patchStarts } from "../patching/patch-lengths";
import { createPatchRule, usesEntropy } from "../patching/patcher-rule";
import { choice } from "./arguments";
import type { Command } from "./command";
import { readText } from "./input";
import { loadEntropyModel, modelOptions, openEitherKind } from "./model";
import { chosenPatching, patchingOptions } from "./patching";

const options = {
  view: choice("WHAT", views, "what colours show (default patches)"),
  ...patchingOptions,
  ...modelOptions,
};

export const patchCommand: Command<typeof options> = {
  name: "patch",
  positionals: { usage: "FILE|-", least: 1, most: 1 },
  summary: "show where the model cuts a text into patches",
  details: [
    "In a terminal patches have alternating colours; with --view entropy each byte has that of the entropy before it, from pale to orange; with --view both a bar stands where patches start besides. Where there are no colours, | stands between patches. Bytes that make no whole character of their patch are shown as \\xE2. Settings that are not given are the checkpoint's.",
    "JSON: model, ids (BOS first), threshold and entropies in nats (one after each id; null in modes that use none), starts (byte offsets of the patches), meanPatchLength in bytes.",
  ],
  options,
  async run({ values, positionals: [path] }, terminal) {
    const checkpoint = openEitherKind(values);
    const patching = chosenPatching(checkpoint.config.patching, values);
    // What is wrong with the settings is said before the text is read.
    createPatchRule(patching);
    const view = values.view ?? "patches";
    if (view !== "patches" && !usesEntropy(patching))
      throw new UserError(`--view ${view} shows entropies, which mode ${patching.mode} does not use; leave one out.`);
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
    const shown = renderPatches(bytes, starts, entropies, { colours: terminal.colours, view });
    for (const piece of shown) await terminal.write(piece);
    const separator = bytes[bytes.length - 1] === 0x0a ? "\n" : "\n\n";
    const lengths = `${bytes.length} bytes, ${starts.length} patches, ${meanPatchLength.toFixed(2)} bytes a patch`;
    await terminal.write(`${separator}${lengths}; ${describePatching(patching)}; ${checkpoint.directory}\n`);
  },
};
