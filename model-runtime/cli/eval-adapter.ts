/** `blt eval --adapter DIR`: what an adapter gains on the files that were held out when it was learned. */
import { UserError } from "../errors";
import { openModel } from "../model/load-model";
import { readAdapter } from "../training/adapter-file";
import { readDataset } from "../training/dataset";
import { kitFor } from "../training/kit";
import { readReport } from "../training/report-file";
import { type Comparison, judge, scoreDocuments } from "../training/verdict";
import { chooseDevice, defaultModel, type ModelValues } from "./model";
import type { Terminal } from "./terminal";

export async function evalAdapter(
  values: Partial<ModelValues> & { adapter?: string },
  terminal: Terminal,
): Promise<void> {
  if (values.adapter === undefined)
    throw new UserError('"blt eval" needs PATH..., or --adapter DIR for the files that were held out then.');
  const checkpoint = openModel(defaultModel(values.model));
  const kit = kitFor(checkpoint);
  const { lowRank } = readAdapter(values.adapter, kit.base);
  const { root, without, filesExclude } = readReport(values.adapter);
  const { heldOut } = await readDataset(root, { maxBytes: Number.POSITIVE_INFINITY, without, filesExclude });
  const session = { device: await chooseDevice(values.device, terminal), threads: values.threads };
  const { signal } = terminal;
  const score = async (adapter: typeof lowRank | null) => {
    const scorer = await kit.scorer(adapter, session);
    const scored = await scoreDocuments(scorer, heldOut, { signal });
    await scorer.release();
    return scored;
  };
  const pair = { before: await score(null), after: await score(lowRank) };
  const { heldOut: whole, byLanguage, interval } = judge(pair, { before: [], after: [] }, null);
  if (values.json) return terminal.writeJson({ root, ...whole, byLanguage, interval });
  const lines = [comparisonLine("held out", whole)];
  for (const [language, comparison] of Object.entries(byLanguage)) lines.push(comparisonLine(language, comparison));
  await terminal.write(`${lines.join("\n")}\n`);
}

/** One line of a table of comparisons. */
export function comparisonLine(name: string, { bpb, exactMatch, files, bytes }: Comparison): string {
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
  return `  ${name.padEnd(12)} ${bpb.before.toFixed(4)} -> ${bpb.after.toFixed(4)} bits per byte; lines right ${percent(exactMatch.before)} -> ${percent(exactMatch.after)} of ${exactMatch.lines} (${files} files, ${bytes} bytes)`;
}
