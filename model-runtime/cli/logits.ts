/** `blt logits`: what the model says after each id of a text, for comparing implementations. */
import { UserError } from "../errors";
import { VOCABULARY_SIZE } from "../ids";
import { patchLengths } from "../patching/patch-lengths";
import { usesEntropy } from "../patching/patcher-rule";
import { text } from "./arguments";
import type { Command } from "./command";
import { loadModel, modelOptions } from "./model";
import { chosenPatching, patchingOptions } from "./patching";

const options = {
  ids: text("ID,ID,...", `the text as ids from 0 to ${VOCABULARY_SIZE - 1}, BOS (1) first; byte b is b + 4`),
  ...patchingOptions,
  ...modelOptions,
};

export const logitsCommand: Command<typeof options> = {
  name: "logits",
  positionals: { usage: "--ids ID,ID,...", least: 0, most: 0 },
  summary: "print the logits after each id of a text",
  details: [
    "JSON always: logits ([id][260]), entropies in nats (one after each id; null in modes that use none), patchLengths (the next position counted in the last patch: they sum to the number of ids + 1).",
  ],
  options,
  async run({ values }, terminal) {
    const ids = parseIds(values.ids);
    const model = await loadModel(values, terminal);
    const patching = chosenPatching(model.config.patching, values);
    const sequence = model.createSequence(patching);
    const rows = await sequence.append(ids, { logits: "all", signal: terminal.signal });
    await model.release();
    const logits = ids.map((_, i) => rows.subarray(i * VOCABULARY_SIZE, (i + 1) * VOCABULARY_SIZE));
    const starts = sequence.patchStarts.filter((start) => start < ids.length);
    const nextStarts = starts.length < sequence.patchStarts.length;
    await terminal.writeJson({
      logits,
      entropies: usesEntropy(patching) ? Float32Array.from(sequence.entropies) : null,
      patchLengths: patchLengths({ starts, nextStarts }, ids.length),
    });
  },
};

function parseIds(list: string | undefined): number[] {
  if (list === undefined) throw new UserError("There are no ids; give some as in --ids 1,76,105.");
  return list.split(",").map((item) => {
    const id = /^\s*\d+\s*$/.test(item) ? Number(item) : Number.NaN;
    if (!(id < VOCABULARY_SIZE)) {
      throw new UserError(`--ids must be whole numbers from 0 to ${VOCABULARY_SIZE - 1}, not "${item.trim()}".`);
    }
    return id;
  });
}
