/** `blt report`: a page with what the model makes of files. */
import { renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, relative, resolve, sep } from "node:path";
import { fileStatus } from "../checkpoint/file-access";
import { reportPage } from "../display/report-page";
import { UserError } from "../errors";
import { byLanguage, type Statistics, StatisticsCollector } from "../statistics/collect";
import { measureText } from "../statistics/measure";
import { text } from "./arguments";
import type { Command } from "./command";
import { findTexts, readBytes } from "./input";
import { loadTextModel, modelOptions } from "./model";
import type { Terminal } from "./terminal";

const options = {
  out: text("FILE", "the page to write (default report.html)"),
  ...modelOptions,
};

export const reportCommand: Command<typeof options> = {
  name: "report",
  positionals: { usage: "PATH...", least: 1, most: Number.POSITIVE_INFINITY },
  summary: "write a page that shows how the model reads files and folders",
  details: [
    "One HTML file that needs nothing else: histograms of entropy and of patch lengths, bits per byte by language and by file, and the most surprising lines. Files are chosen and scored as by blt eval.",
    "JSON, on stdout beside the page: out, files ({path, language, bytes, bits, patches}), languages, entropy ({width, counts, of}), lengths ({counts, units}), lines ({path, line, bytes, bits, excess, text, levels}), skipped ({path, reason}).",
  ],
  options,
  writesFiles: true,
  async run({ values, positionals }, terminal) {
    const out = values.out ?? "report.html";
    // A page takes the place of the file that was there, which a device must not be.
    const there = fileStatus(out);
    if (there !== null && !there.isFile() && !there.isDirectory())
      throw new UserError(`${out} is no file; give --out another name.`);
    const { texts, skipped } = findTexts(positionals, terminal);
    const total = texts.reduce((sum, { bytes }) => sum + bytes, 0);
    // That the page cannot be written is said before the work, not after it; a page that is there stays until then.
    const partial = `${out}.part`;
    write(partial, "", out);
    try {
      const collector = new StatisticsCollector();
      const { model, directory } = await loadTextModel(values, terminal);
      await terminal.withProgress("Measuring", async (update) => {
        let done = 0;
        for (const { path } of texts) {
          const bytes = readBytes(path);
          const onProgress = (count: number) => update(done + count, total);
          collector.add(path, bytes, await measureText(model, bytes, { signal: terminal.signal, onProgress }));
          done += bytes.length;
        }
      });
      await model.release();
      const statistics = collector.result();
      const passedOver = skipped.map(({ path, skipped: reason }) => ({ path, reason: reason! }));
      const folder = dirname(resolve(out));
      const page = reportPage(statistics, {
        title: positionals.map((path) => basename(resolve(path))).join(", "),
        model: basename(directory),
        skipped: passedOver,
        link: (path) => addressFrom(folder, path),
        notice: null,
      });
      write(partial, page, out);
      move(partial, out);
      await tell(statistics, { out, skipped: passedOver, asJson: values.json === true }, terminal);
    } finally {
      rmSync(partial, { force: true });
    }
  },
};

/** What was written, as JSON with all figures or as one line. */
async function tell(statistics: Statistics, { out, skipped, asJson }: Told, terminal: Terminal): Promise<void> {
  const { files } = statistics;
  if (asJson) return terminal.writeJson({ out, ...statistics, languages: byLanguage(files), skipped });
  const bits = files.reduce((sum, file) => sum + file.bits, 0);
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  const name = files.length === 1 ? "file" : "files";
  await terminal.write(
    `${out}: ${files.length} ${name}, ${(bits / bytes).toFixed(4)} bits per byte over ${bytes} bytes\n`,
  );
}

interface Told {
  out: string;
  skipped: { path: string; reason: string }[];
  asJson: boolean;
}

/** Address of a file as seen from the page's folder, so that page and files may move together. */
function addressFrom(folder: string, path: string): string {
  return relative(folder, resolve(path)).split(sep).map(encodeURIComponent).join("/");
}

/** Writes `path` for what will be `wanted`, which errors name. */
function write(path: string, page: string, wanted: string): void {
  try {
    writeFileSync(path, page);
  } catch (error) {
    throw unwritable(wanted, error);
  }
}

function move(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (error) {
    throw unwritable(to, error);
  }
}

function unwritable(path: string, error: unknown): UserError {
  const { code } = error as NodeJS.ErrnoException;
  const reasons: Record<string, string> = { ENOENT: "there is no such folder", EISDIR: "it is a folder" };
  const reason = reasons[code ?? ""] ?? code ?? String(error);
  return new UserError(`${path} cannot be written (${reason}); give --out another name.`);
}
