/** Projects whose files are split into held-out ones and the rest, and networks' distributions kept on the disk. */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { extname, join, relative } from "node:path";
import { encode, VOCABULARY_SIZE } from "../../../model-runtime/ids";
import type { AppendOptions, TextModel, TextState } from "../../../model-runtime/model/text-state";
import { EVERY_BYTE } from "../../../model-runtime/ngram/mixed-model";
import { WorkspaceIndex } from "../../../model-runtime/ngram/workspace-index";

export interface Project {
  name: string;
  /** Files that are not held out and no copy of one that is. */
  workspace: string[];
  /** Held-out files that are scored. */
  scored: string[];
}

export interface SplitOptions {
  /** Bytes of scored files a project, and of one of them. */
  mostBytes: number;
  largestFile: number;
}

const languages = new Set([".ts", ".tsx", ".js", ".py", ".rs", ".go"]);

/** Holds out every eighth file by the SHA-256 of its path. */
export function splitProject(name: string, folder: string, { mostBytes, largestFile }: SplitOptions): Project {
  const hash = (file: string) => createHash("sha256").update(relative(folder, file)).digest("hex");
  const files = sources(folder).sort((a, b) => (hash(a) < hash(b) ? -1 : 1));
  const isHeld = (file: string) => Number.parseInt(hash(file).at(-1)!, 16) % 8 === 0;
  const texts = new Set(files.filter(isHeld).map((file) => readFileSync(file, "latin1")));
  const scored: string[] = [];
  let bytes = 0;
  for (const file of files.filter(isHeld)) {
    const { size } = statSync(file);
    if (size < 800 || size > largestFile || bytes + size > mostBytes) continue;
    scored.push(file);
    bytes += size;
  }
  const workspace = files.filter((file) => !isHeld(file) && !texts.has(readFileSync(file, "latin1")));
  return { name, workspace, scored };
}

function sources(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && languages.has(extname(entry.name)) && !entry.name.endsWith(".d.ts"))
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((file) => statSync(file).size > 0);
}

export function indexOf({ workspace }: Project): WorkspaceIndex {
  const texts = workspace.map((file) => ({ file, bytes: new Uint8Array(readFileSync(file)) }));
  const index = new WorkspaceIndex(texts.reduce((sum, { bytes }) => sum + bytes.length + 33, 0));
  for (const { file, bytes } of texts) index.set(file, bytes);
  return index;
}

/** A scored file: its bytes and the network's log-probabilities after each id, [bytes + 1, 257], nats. */
export interface Recording {
  bytes: Uint8Array;
  rows: Float32Array;
}

/** Symbols of a row: 256 bytes and EOS. */
const ROW = 257;

export function recordingOf(file: string, cache: string): Recording | null {
  const bytes = new Uint8Array(readFileSync(file));
  const path = recordingPath(bytes, cache);
  if (!existsSync(path)) return null;
  const { buffer, byteOffset, length } = readFileSync(path);
  return { bytes, rows: new Float32Array(buffer, byteOffset, length / 4) };
}

/** Asks the network after each byte of a file and keeps what it says. */
export async function record(model: TextModel, file: string, cache: string): Promise<void> {
  const bytes = new Uint8Array(readFileSync(file));
  const ids = encode(bytes);
  const sequence = model.createSequence();
  const rows = new Float32Array(ids.length * ROW);
  for (let from = 0; from < ids.length; from += 512) {
    const chunk = ids.subarray(from, from + 512);
    const logits = await sequence.append(chunk, { logits: "all" });
    for (let i = 0; i < chunk.length; i++) {
      const row = logits.subarray(i * VOCABULARY_SIZE, (i + 1) * VOCABULARY_SIZE);
      rows.set(logProbsOf(row), (from + i) * ROW);
    }
  }
  mkdirSync(cache, { recursive: true });
  const path = recordingPath(bytes, cache);
  writeFileSync(`${path}.part`, new Uint8Array(rows.buffer));
  renameSync(`${path}.part`, path);
}

function logProbsOf(logits: Float32Array): Float32Array {
  const row = new Float32Array(ROW);
  row.set(logits.subarray(4));
  row[256] = logits[2];
  const most = row.reduce((a, b) => Math.max(a, b));
  const normalizer = most + Math.log(row.reduce((sum, logit) => sum + Math.exp(logit - most), 0));
  return row.map((logit) => Math.max(-40, logit - normalizer));
}

function recordingPath(bytes: Uint8Array, cache: string): string {
  return join(cache, `${createHash("sha256").update(bytes).digest("hex").slice(0, 16)}.f32`);
}

/** A model that says of one text what was recorded of it. */
export class RecordedModel implements TextModel {
  readonly patcher = null;
  readonly patching = EVERY_BYTE;
  readonly sharedBytes = 0;

  constructor(private readonly recording: Recording) {}

  createSequence(): TextState {
    return new RecordedText(this.recording.rows);
  }

  async release(): Promise<void> {}
}

class RecordedText implements TextState {
  length = 0;
  readonly patchStarts: readonly number[] = [];
  readonly byteLength = 0;

  constructor(private readonly rows: Float32Array) {}

  idAt(): number {
    throw new Error("a recording keeps no ids");
  }

  async append(ids: ArrayLike<number>, { logits = "last" }: AppendOptions = {}): Promise<Float32Array> {
    const out = new Float32Array(ids.length * VOCABULARY_SIZE).fill(Number.NEGATIVE_INFINITY);
    for (let i = 0; i < ids.length; i++) {
      const at = (this.length + i) * ROW;
      out.set(this.rows.subarray(at, at + 256), i * VOCABULARY_SIZE + 4);
      out[i * VOCABULARY_SIZE + 2] = this.rows[at + 256];
    }
    this.length += ids.length;
    return logits === "all" ? out : logits === "last" ? out.slice(-VOCABULARY_SIZE) : new Float32Array(0);
  }

  truncate(length: number): void {
    this.length = length;
  }

  fork(): TextState {
    const copy = new RecordedText(this.rows);
    copy.length = this.length;
    return copy;
  }
}
