/**
 * Texts counted once however many files hold them: of files with equal texts the first is in the index, and the others wait
 * until it is removed or changed. What a file has in the index is therefore never lost with its twin.
 */
import { createHash } from "node:crypto";
import type { WorkspaceIndex } from "./workspace-index";

export class DistinctTexts {
  private readonly digests = new Map<string, string>();
  /** Files of each text, the one that is counted first. */
  private readonly holders = new Map<string, string[]>();

  constructor(private readonly index: WorkspaceIndex) {}

  /** All files, whether counted or waiting. */
  get paths(): string[] {
    return [...this.digests.keys()];
  }

  /** Adds a file, or replaces its text. */
  set(path: string, bytes: Uint8Array): void {
    const digest = createHash("sha256").update(bytes).digest("base64");
    if (this.digests.get(path) === digest) return;
    const old = this.release(path);
    this.digests.set(path, digest);
    const holders = this.holders.get(digest);
    if (holders === undefined) {
      this.holders.set(digest, [path]);
      this.index.set(path, bytes);
    } else {
      holders.push(path);
      this.index.remove(path);
    }
    this.promote(old);
  }

  remove(path: string): void {
    const old = this.release(path);
    this.digests.delete(path);
    this.index.remove(path);
    this.promote(old);
  }

  /** Forgets all files that `keeps` does not name. */
  retain(keeps: (path: string) => boolean): void {
    const gone = this.paths.filter((path) => !keeps(path));
    // Those that wait first: none of them is to be counted for a moment.
    for (const path of gone.filter((each) => !this.index.has(each))) this.remove(path);
    for (const path of gone) this.remove(path);
  }

  /** Takes a file off its text; returns that text and the file that is to be counted for it now, if any. */
  private release(path: string): { path: string; bytes: Uint8Array } | null {
    const digest = this.digests.get(path);
    if (digest === undefined) return null;
    const holders = this.holders.get(digest)!;
    const wasCounted = holders[0] === path;
    holders.splice(holders.indexOf(path), 1);
    if (holders.length === 0) this.holders.delete(digest);
    return wasCounted && holders.length > 0 ? { path: holders[0], bytes: this.index.read(path)! } : null;
  }

  private promote(next: { path: string; bytes: Uint8Array } | null): void {
    if (next !== null) this.index.set(next.path, next.bytes);
  }
}
