/**
 * The adapters of a workspace, a folder each in the client's storage, and which of them is in use. What a run leaves is
 * moved here whole; a folder that is being copied has a name of its own until it is whole.
 */
import { cpSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileStatus } from "../model-runtime/checkpoint/file-access";
import { diskError, makeFolder, writeTextFile } from "../model-runtime/checkpoint/write-safetensors";
import { UserError } from "../model-runtime/errors";
import {
  type AdapterBase,
  type AdapterCard,
  adapterCardName,
  adapterConfigName,
  adapterWeightsName,
  readAdapter,
  readCard,
  removeAdapter,
} from "../model-runtime/training/adapter-file";
import { reportName } from "../model-runtime/training/report-file";
import { type AdapterInfo, SHARED_ID } from "./finetune-protocol";

/** `null`: the user wants none; undefined: the user has not chosen. */
export type Choice = string | null | undefined;

const choiceName = "in-use.json";
const partialSuffix = ".partial";
/** In the order in which they are moved: the one that makes a folder an adapter last. */
const fileNames = [reportName, adapterWeightsName, adapterCardName, adapterConfigName];

export class Adapters {
  /** @param folder the client's storage for this workspace */
  constructor(private readonly folder: string) {}

  /** Where runs take place. */
  get runFolder(): string {
    return join(this.folder, "fine-tuning");
  }

  /** What the user chose; the choice of an adapter that is gone is none. */
  get choice(): Choice {
    const path = join(this.folder, choiceName);
    if (fileStatus(path) === null) return undefined;
    const { id } = parsed(readFileSync(path, "utf8"));
    return typeof id === "string" && id !== SHARED_ID && !this.has(id) ? undefined : id;
  }

  async choose(id: string | null): Promise<void> {
    if (id !== null && id !== SHARED_ID) this.require(id);
    makeFolder(this.folder);
    await writeTextFile(join(this.folder, choiceName), `${JSON.stringify({ id })}\n`);
  }

  folderOf(id: string): string {
    return join(this.folder, "adapters", id);
  }

  /** Ids, the newest first. */
  get ids(): string[] {
    const parent = join(this.folder, "adapters");
    if (fileStatus(parent) === null) return [];
    return readdirSync(parent)
      .filter((id) => !id.endsWith(partialSuffix) && this.has(id))
      .sort()
      .reverse();
  }

  /**
   * All adapters; `problemOf` says why one does not fit the model at hand.
   * @param shared folder of the one that the settings name; null for none
   */
  list(
    inUse: string | null,
    shared: string | null,
    problemOf: (card: AdapterCard | null) => string | null,
  ): AdapterInfo[] {
    const entries = this.ids.map((id) => ({ id, folder: this.folderOf(id) }));
    if (shared !== null) entries.unshift({ id: SHARED_ID, folder: shared });
    return entries.map(({ id, folder }) => ({ ...infoOf(id, folder, problemOf), isInUse: folder === inUse }));
  }

  /** Takes over what a run left in `runFolder`: the id of the adapter, null when there is none. */
  adopt(): string | null {
    const from = this.runFolder;
    if (fileStatus(join(from, adapterConfigName)) === null) return null;
    const id = this.newId(readCard(join(from, adapterCardName))?.date ?? new Date().toISOString());
    try {
      copyAdapter(from, this.folderOf(id));
    } catch (error) {
      throw diskError(error, this.folderOf(id));
    }
    removeAdapter(from);
    return id;
  }

  /** Copies an adapter from anywhere, if it fits the model. */
  import(from: string, base: AdapterBase): string {
    const source = resolve(from);
    const { card } = readAdapter(source, base);
    const id = this.newId(card?.date ?? statSync(join(source, adapterWeightsName)).mtime.toISOString());
    try {
      copyAdapter(source, this.folderOf(id));
    } catch (error) {
      throw diskError(error, this.folderOf(id));
    }
    return id;
  }

  /** Copies an adapter's files into a folder of its own below `folder`; its path. */
  export(id: string, folder: string): string {
    this.require(id);
    const to = join(folder, `blt-adapter-${id}`);
    if (fileStatus(to) !== null) throw new UserError(`${to} exists already; choose another folder.`);
    try {
      // Without the report, which names folders of this machine.
      copyAdapter(
        this.folderOf(id),
        to,
        fileNames.filter((name) => name !== reportName),
      );
    } catch (error) {
      throw diskError(error, to);
    }
    return to;
  }

  delete(id: string): void {
    this.require(id);
    // First what makes it an adapter, so that half of one is none.
    rmSync(join(this.folderOf(id), adapterConfigName), { force: true });
    rmSync(this.folderOf(id), { recursive: true, force: true });
  }

  private has(id: string): boolean {
    return fileStatus(join(this.folderOf(id), adapterConfigName)) !== null;
  }

  private require(id: string): void {
    if (!/^[\w.-]+$/.test(id) || !this.has(id))
      throw new UserError("This adapter is not there any more; open the list of adapters again.");
  }

  /** A name that sorts by date and is that of no other. */
  private newId(date: string): string {
    const stem = date.slice(0, 19).replaceAll(":", "-");
    for (let i = 1; ; i++) {
      const id = i === 1 ? stem : `${stem}-${i}`;
      if (fileStatus(this.folderOf(id)) === null) return id;
    }
  }
}

function infoOf(
  id: string,
  folder: string,
  problemOf: (card: AdapterCard | null) => string | null,
): Omit<AdapterInfo, "isInUse"> {
  let card: AdapterCard | null = null;
  let problem: string | null = null;
  try {
    card = readCard(join(folder, adapterCardName));
    problem = problemOf(card);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    problem = error.message;
  }
  const sizeBytes = fileNames.reduce((sum, name) => sum + (fileStatus(join(folder, name))?.size ?? 0), 0);
  const { date = "", files = 0, bytes = 0, heldOut = null, general = null, exactMatch = null } = card ?? {};
  return { id, date, files, trainedBytes: bytes, sizeBytes, heldOut, general, exactMatch, problem };
}

/** Copies an adapter's files, whole or not at all. */
function copyAdapter(from: string, to: string, names: readonly string[] = fileNames): void {
  const partial = `${to}${partialSuffix}`;
  rmSync(partial, { recursive: true, force: true });
  mkdirSync(partial, { recursive: true });
  try {
    for (const name of names) if (fileStatus(join(from, name)) !== null) cpSync(join(from, name), join(partial, name));
    renameSync(partial, to);
  } catch (error) {
    rmSync(partial, { recursive: true, force: true });
    throw error;
  }
}

function parsed(text: string): { id?: string | null } {
  try {
    return JSON.parse(text) ?? {};
  } catch (error) {
    // Written by another program: as if nothing had been chosen.
    if (error instanceof SyntaxError) return {};
    throw error;
  }
}
