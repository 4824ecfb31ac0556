/** The folder that `--workspace` names, counted; and a model that is mixed with it. */
import { readFileSync, statSync } from "node:fs";
import { relative, resolve, sep } from "node:path";
import { UserError } from "../errors";
import type { TextModel } from "../model/text-state";
import { MixedModel } from "../ngram/mixed-model";
import { learningRates } from "../ngram/mixture";
import { MOST_TEXT_BYTES, WorkspaceIndex } from "../ngram/workspace-index";
import { readWorkspace, summarySentence, type WorkspaceSummary } from "../workspace/read-workspace";
import { text, toggle, type Values } from "./arguments";
import type { Terminal } from "./terminal";

export const workspaceOptions = {
  workspace: text("DIR", "mix the model with exact counts over the other files of this folder"),
  withoutNetwork: toggle("with --workspace: counts alone; no network is loaded"),
  fixedWeights: toggle("with --workspace: the mixture's weights do not learn from the text, as in the editor"),
};

export type WorkspaceValues = Values<typeof workspaceOptions>;

export interface CountedWorkspace {
  directory: string;
  index: WorkspaceIndex;
  summary: WorkspaceSummary;
}

/** Counts a folder by the rules of docs/ngram.md; what does not fit is told to the user. Null when none is named. */
export async function countWorkspace(
  values: WorkspaceValues,
  near: readonly string[],
  terminal: Terminal,
): Promise<CountedWorkspace | null> {
  const { workspace: directory, withoutNetwork, fixedWeights } = values;
  if (directory === undefined) {
    if (withoutNetwork || fixedWeights) {
      const flag = withoutNetwork ? "--without-network" : "--fixed-weights";
      throw new UserError(`${flag} is about a workspace; name its folder with --workspace DIR.`);
    }
    return null;
  }
  if (statSync(directory, { throwIfNoEntry: false })?.isDirectory() !== true) {
    throw new UserError(`There is no folder ${directory}; name the workspace's folder with --workspace.`);
  }
  const nearPaths = near.map((path) => relative(resolve(directory), resolve(path)).split(sep).join("/"));
  const reading = readWorkspace(directory, { maxBytes: MOST_TEXT_BYTES, near: nearPaths, signal: terminal.signal });
  const texts: { path: string; bytes: Uint8Array }[] = [];
  let step = await reading.next();
  for (; !step.done; step = await reading.next()) texts.push(step.value);
  const index = new WorkspaceIndex(texts.reduce((sum, { bytes }) => sum + bytes.length + 33, 0));
  for (const { path, bytes } of texts.reverse()) index.set(path, bytes);
  const summary = step.value;
  if (summary.leftOut > 0 || summary.isCut) terminal.notice(`Workspace ${directory}: ${summarySentence(summary)}`);
  return { directory, index, summary };
}

/** Runs `use` while the index has neither the file at `path` nor another with the same text. */
export async function withoutFile<T>({ directory, index }: CountedWorkspace, path: string, use: () => Promise<T>) {
  const bytes = readFileSync(path);
  const own = relative(resolve(directory), resolve(path)).split(sep).join("/");
  const taken = index.paths.filter((other) => {
    if (other === own) return true;
    const there = index.read(other)!;
    return there.length === bytes.length && bytes.equals(there);
  });
  const texts = taken.map((other) => ({ other, text: index.read(other)! }));
  for (const { other } of texts) index.remove(other);
  try {
    return await use();
  } finally {
    for (const { other, text: kept } of texts) index.set(other, kept);
  }
}

export function mixedWith(network: TextModel | null, { index }: CountedWorkspace, values: WorkspaceValues): MixedModel {
  return new MixedModel({ network, workspace: index, learning: values.fixedWeights ? null : learningRates });
}
