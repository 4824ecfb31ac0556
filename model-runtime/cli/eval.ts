/** `blt eval`: bits per byte of files. */
import { scoreText, summarizeScores, type TextScore } from "../evaluate";
import type { Command } from "./command";
import { evalAdapter } from "./eval-adapter";
import { findTexts, readBytes } from "./input";
import { adapterOptions, loadTextModel, modelOptions } from "./model";
import { chosenPatchingOf, patchingOptions } from "./patching";
import type { Terminal } from "./terminal";
import { type CountedWorkspace, countWorkspace, mixedWith, withoutFile, workspaceOptions } from "./workspace";

const options = { ...patchingOptions, ...adapterOptions, ...modelOptions, ...workspaceOptions };

export const evalCommand: Command<typeof options> = {
  name: "eval",
  positionals: { usage: "PATH...", least: 0, most: Number.POSITIVE_INFINITY },
  summary: "measure bits per byte of files and folders",
  details: [
    "Each byte is predicted with all bytes before it as context; the end of a file is not scored. In folders, binary files (a zero byte in the first 8000), .git, node_modules and links are passed over.",
    "With --adapter DIR and no PATH, the files that were held out when the adapter was learned are scored again, with and without it.",
    "With --workspace each file is scored with the other text files of that folder as the workspace, found by the rules of docs/ngram.md; a copy of the file is left out as well.",
    "JSON: files ({path, bytes, bits, bpb}), skipped ({path, reason}), and over all files bytes, bpb, accuracy (share of bytes that were the most probable id), perplexity (of a byte), meanPatchLength; with --workspace also workspace ({path, files, bytes, leftOut}).",
  ],
  options,
  async run({ values, positionals }, terminal) {
    if (positionals.length === 0) return evalAdapter(values, terminal);
    const { texts, skipped } = findTexts(positionals, terminal);
    const total = texts.reduce((sum, { bytes }) => sum + bytes, 0);
    const workspace = await countWorkspace(values, positionals, terminal);
    const loaded = values.withoutNetwork ? null : await loadTextModel(values, terminal);
    const patching = loaded === null ? undefined : chosenPatchingOf(loaded.patching, values);
    const model = workspace === null ? loaded!.model : mixedWith(loaded?.model ?? null, workspace, values);
    const files: (TextScore & { path: string; bpb: number })[] = [];
    await terminal.withProgress("Scoring", async (update) => {
      let done = 0;
      for (const { path } of texts) {
        const onProgress = (bytes: number) => update(done + bytes, total);
        const scored = () => scoreText(model, readBytes(path), { patching, signal: terminal.signal, onProgress });
        const score = await (workspace === null ? scored() : withoutFile(workspace, path, scored));
        done += score.bytes;
        files.push({ path, ...score, bpb: score.bits / score.bytes });
      }
    });
    await model.release();
    const all = summarizeScores(files);
    if (values.json) {
      return terminal.writeJson({
        files: files.map(({ path, bytes, bits, bpb }) => ({ path, bytes, bits, bpb })),
        skipped: skipped.map((file) => ({ path: file.path, reason: file.skipped })),
        ...all,
        ...(workspace === null ? {} : { workspace: described(workspace) }),
      });
    }
    await writeTable(files, terminal);
    await terminal.write(
      `${all.bpb.toFixed(4)} bits per byte over ${all.bytes} bytes; ${(100 * all.accuracy).toFixed(1)} % of bytes right, perplexity ${all.perplexity.toFixed(3)}, ${all.meanPatchLength.toFixed(2)} bytes a patch\n`,
    );
    if (workspace !== null) {
      const { path, files: others, bytes } = described(workspace);
      await terminal.write(`Workspace ${path}: ${others} files, ${bytes} bytes\n`);
    }
  },
};

function described({ directory, summary: { files, bytes, leftOut } }: CountedWorkspace) {
  return { path: directory, files, bytes, leftOut };
}

async function writeTable(files: readonly { path: string; bytes: number; bpb: number }[], terminal: Terminal) {
  const width = Math.max(...files.map(({ bytes }) => String(bytes).length));
  for (const { path, bytes, bpb } of files) {
    await terminal.write(`${bpb.toFixed(4).padStart(8)}  ${String(bytes).padStart(width)}  ${path}\n`);
  }
}
