/**
 * The workspace in the model's thread: its texts counted (docs/ngram.md), kept in step with the disk and with what stands
 * in the editor. Files are read between requests, never during one; nothing is written.
 */
import { stat } from "node:fs/promises";
import { basename, isAbsolute, join, relative, sep } from "node:path";
import { BYTE_OFFSET, encode, VOCABULARY_SIZE } from "../model-runtime/ids";
import { DistinctTexts } from "../model-runtime/ngram/distinct-texts";
import { History } from "../model-runtime/ngram/history";
import { symbolLogits } from "../model-runtime/ngram/mixed-model";
import { Mixture } from "../model-runtime/ngram/mixture";
import { defaultMixtureWeights } from "../model-runtime/ngram/mixture-weights";
import { quotedFrom } from "../model-runtime/ngram/quotes";
import { MOST_TEXT_BYTES, WorkspaceIndex } from "../model-runtime/ngram/workspace-index";
import { type FilesExclude, ignoreFiles } from "../model-runtime/workspace/ignore-rules";
import { errorReason, passReasonOf, readWorkspaceFile } from "../model-runtime/workspace/list-files";
import { readWorkspace, summarySentence } from "../model-runtime/workspace/read-workspace";
import { passContent, passFolder, passName } from "../model-runtime/workspace/text-rules";
import { SEEN_BYTES, type Stretch } from "./mixed-entropies";
import type { DocumentAround, FromWorkspace, Quote, ToWorkspace } from "./workspace-protocol";

/** Bytes counted at a time, so that a request waits some milliseconds at most. */
const SLICE_BYTES = 64_000;
/** How long after the last change of a rules file or a folder everything is read again, ms. */
const SETTLE_MS = 500;
/** Changes told at once that are looked at one by one; of more everything is read again. */
const MOST_CHANGES = 200;
/** Ends of the names under which the parts of the document at hand are counted. */
const PARTS = { before: "\0before", after: "\0after" };

export interface WorkspaceTextsOptions {
  send(message: FromWorkspace): void;
  /** Resolves when no request runs or waits. */
  whenIdle(): Promise<void>;
}

export class WorkspaceTexts {
  readonly index = new WorkspaceIndex();
  /** The files in the index; the parts of the document at hand are no files. */
  private readonly texts = new DistinctTexts(this.index);
  private folders: string[] = [];
  private filesExclude: FilesExclude = {};
  private near: string[] = [];
  /** Documents whose text is the editor's, not the disk's. */
  private readonly open = new Set<string>();
  /** Open documents that the rules for names and folders let through. */
  private readonly accepted = new Set<string>();
  /** The document at hand, and the line where its part behind the cursor begins. */
  private current: { path: string; afterLine: number } | null = null;
  /** Changes one after the other. */
  private work: Promise<void> = Promise.resolve();
  private reading = new AbortController();
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly options: WorkspaceTextsOptions) {}

  handle(message: ToWorkspace): void {
    switch (message.type) {
      case "workspace":
        this.folders = message.isOn ? message.folders : [];
        this.filesExclude = message.filesExclude;
        this.near = message.near;
        this.readAll();
        break;
      case "workspaceText":
        // A document that was found to be counted is so at once: a request may be next.
        if (message.text !== null && this.accepted.has(message.path)) this.countOpen(message.path, message.text);
        else this.afterOthers(() => this.setOpen(message.path, message.text));
        break;
      case "filesChanged":
        this.afterOthers(() => this.refresh(message.paths));
        break;
      case "quote":
        this.options.send({ type: "quoted", id: message.id, quote: this.quote(message.text) });
        break;
    }
  }

  /** Takes the document at hand out of the workspace, but for what lies around the context. */
  cut({ path, before, after, afterLine }: DocumentAround): void {
    const { index } = this;
    if (this.current !== null && this.current.path !== path) {
      for (const part of Object.values(PARTS)) index.remove(this.current.path + part);
    }
    this.current = { path, afterLine };
    this.open.add(path);
    this.texts.remove(path);
    for (const [part, text] of Object.entries({ before, after })) {
      const name = path + PARTS[part as keyof typeof PARTS];
      if (text.trim() === "") index.remove(name);
      else index.set(name, asCounted(text));
    }
  }

  /**
   * What is expected in a stretch of a document by the counts of all others, mixed with a model of bytes.
   *
   * @param take is told, place by place, the log-probabilities of 256 bytes and the end, nats, which are valid during the call
   */
  expect(path: string, { before, bytes, logits }: Stretch, take: (logProbs: Float64Array) => void): void {
    const { index } = this;
    index.without([path, path + PARTS.before, path + PARTS.after], () => {
      const mixture = new Mixture(index);
      const history = new History();
      for (const id of encode(before.subarray(-SEEN_BYTES))) history.push(id);
      for (let row = 0; row <= bytes.length; row++) {
        if (row > 0) history.push(bytes[row - 1] + BYTE_OFFSET);
        take(mixture.predict(history, symbolLogits(logits, row * VOCABULARY_SIZE), defaultMixtureWeights()));
      }
    });
  }

  /** Resolves when every change so far has been counted. */
  async settled(): Promise<void> {
    for (let seen: Promise<void> | null = null; seen !== this.work; ) {
      seen = this.work;
      await seen;
    }
  }

  /** Stops reading. */
  async close(): Promise<void> {
    clearTimeout(this.timer);
    this.reading.abort();
    await this.settled();
  }

  private afterOthers(change: () => Promise<void>): void {
    const { signal } = this.reading;
    this.work = this.work.then(async () => {
      if (!signal.aborted) await change();
    });
  }

  /** Reads all folders; what is read already is given up. */
  private readAll(): void {
    clearTimeout(this.timer);
    this.reading.abort();
    this.reading = new AbortController();
    this.accepted.clear();
    const { signal } = this.reading;
    this.afterOthers(async () => {
      try {
        await this.countFolders(signal);
      } catch (error) {
        if (!signal.aborted) throw error;
      }
    });
  }

  private async countFolders(signal: AbortSignal): Promise<void> {
    const { folders } = this;
    this.texts.retain((path) => this.open.has(path));
    const found = { files: 0, bytes: 0, sentences: [] as string[], notices: [] as string[] };
    for (const folder of folders) {
      const texts: { path: string; bytes: Uint8Array }[] = [];
      const near = this.near.map((path) => relativeTo(folder, path)).filter((path) => path !== null);
      const maxBytes = MOST_TEXT_BYTES - found.bytes;
      const reading = readWorkspace(folder, { maxBytes, near, filesExclude: this.filesExclude, signal });
      let step = await reading.next();
      for (; !step.done; step = await reading.next()) texts.push(step.value);
      const summary = step.value;
      const bytesOf = new Map(texts.map(({ path, bytes }) => [path, bytes]));
      const twins = summary.twins.map(({ path, of }) => ({ path, bytes: bytesOf.get(of)! }));
      await this.add(folder, [...texts.reverse(), ...twins], signal);
      found.files += summary.files;
      found.bytes += summary.bytes;
      const sentence = `${basename(folder)}: ${summarySentence(summary)}`;
      found.sentences.push(sentence);
      if (summary.leftOut > 0 || summary.isCut) found.notices.push(sentence);
    }
    const { files, bytes, sentences, notices } = found;
    const sentence = `Counted ${sentences.join(" ")}`;
    const notice = notices.length === 0 ? null : `Not all of the workspace is counted: ${notices.join(" ")}`;
    if (folders.length === 0) return;
    this.options.send({ type: "counted", files, bytes, sentence, notice });
  }

  /** Counts texts in slices, the least relevant first, so that the others are the latest. */
  private async add(folder: string, texts: { path: string; bytes: Uint8Array }[], signal: AbortSignal): Promise<void> {
    this.index.reserve(texts.reduce((sum, { bytes }) => sum + bytes.length + 64, 0));
    let slice = 0;
    for (const { path, bytes } of texts) {
      const name = join(folder, path);
      if (!this.open.has(name)) this.texts.set(name, withoutCarriageReturns(bytes));
      slice += bytes.length;
      if (slice < SLICE_BYTES) continue;
      slice = 0;
      await this.pause();
      signal.throwIfAborted();
    }
  }

  private async setOpen(path: string, text: string | null): Promise<void> {
    if (text === null) {
      this.open.delete(path);
      this.accepted.delete(path);
      if (this.current?.path === path) {
        for (const part of Object.values(PARTS)) this.index.remove(path + part);
        this.current = null;
      }
      await this.refresh([path]);
      return;
    }
    this.open.add(path);
    const folder = this.folderOf(path);
    const rule = folder === null ? passName(basename(path)) : await this.reasonOf(folder, path);
    const reason = rule === "vanished" ? passName(basename(path)) : rule;
    await this.pause();
    if (reason === null) {
      this.accepted.add(path);
      this.countOpen(path, text);
    } else if (this.current?.path !== path) {
      this.texts.remove(path);
    }
    this.index.packWhenWorthwhile();
  }

  private countOpen(path: string, text: string): void {
    if (this.current?.path === path) return;
    const bytes = asCounted(text);
    if (passContent(basename(path), bytes) === null) this.texts.set(path, bytes);
    else this.texts.remove(path);
  }

  /** Brings files up to what is on the disk now. */
  private async refresh(all: readonly string[]): Promise<void> {
    const paths = all.filter((path) => !this.isPassed(path));
    if (paths.length > MOST_CHANGES) this.readAllSoon();
    for (const path of paths.slice(0, MOST_CHANGES)) {
      const folder = this.folderOf(path);
      if (folder === null) this.removeUnder(path);
      else if ((ignoreFiles as readonly string[]).includes(basename(path)) || (await isFolder(path)))
        this.readAllSoon();
      else if (!this.open.has(path)) await this.refreshFile(folder, path);
    }
    await this.pause();
    this.index.packWhenWorthwhile();
  }

  /** Whether a path lies in a folder that is never entered, as most do that an installation or a build writes. */
  private isPassed(path: string): boolean {
    const folder = this.folderOf(path);
    const inside = folder === null ? null : relativeTo(folder, path);
    return inside?.split("/").some((name) => passFolder(name) !== null) ?? false;
  }

  private async refreshFile(folder: string, path: string): Promise<void> {
    const reason = await this.reasonOf(folder, path);
    const read = reason === null ? await readWorkspaceFile(folder, relativeTo(folder, path)!) : { reason };
    await this.pause();
    if (this.open.has(path)) return;
    const fits = "bytes" in read && this.index.length + read.bytes.length <= MOST_TEXT_BYTES;
    if (fits) this.texts.set(path, withoutCarriageReturns(read.bytes));
    else this.removeUnder(path);
  }

  /** Forgets a file, or all files of a folder, unless they are open. */
  private removeUnder(path: string): void {
    const isGone = (other: string) => other === path || other.startsWith(path + sep);
    this.texts.retain((other) => !isGone(other) || this.open.has(other));
  }

  private readAllSoon(): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.readAll(), SETTLE_MS).unref();
  }

  private reasonOf(folder: string, path: string) {
    return passReasonOf(folder, relativeTo(folder, path)!, { filesExclude: this.filesExclude });
  }

  private folderOf(path: string): string | null {
    return this.folders.find((folder) => relativeTo(folder, path) !== null) ?? null;
  }

  /** Lets requests go first. */
  private async pause(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    await this.options.whenIdle();
  }

  private quote(text: string): Quote | null {
    const place = quotedFrom(this.index, asCounted(text));
    if (place === null) return null;
    const [path] = place.path.split("\0");
    const lines = this.index
      .readRange(place.path, 0, place.offset)!
      .reduce((sum, byte) => sum + (byte === 10 ? 1 : 0), 0);
    const first = place.path.endsWith(PARTS.after) ? (this.current?.afterLine ?? 0) : 0;
    const folder = this.folderOf(path);
    return { path: (folder === null ? null : relativeTo(folder, path)) ?? path, line: first + lines + 1 };
  }
}

/** A path inside a folder, with "/" between names; null when it is outside. */
function relativeTo(folder: string, path: string): string | null {
  const inside = relative(folder, path);
  return inside === "" || inside.startsWith("..") || isAbsolute(inside) ? null : inside.split(sep).join("/");
}

/** Text as models see it. */
function asCounted(text: string): Uint8Array {
  return new TextEncoder().encode(text.replace(/^\uFEFF/, "").replace(/\r\n?/g, "\n"));
}

function withoutCarriageReturns(bytes: Uint8Array): Uint8Array {
  const hasMark = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf;
  return bytes.includes(13) || hasMark ? asCounted(new TextDecoder().decode(bytes)) : bytes;
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    errorReason(error);
    return false;
  }
}
