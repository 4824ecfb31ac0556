/** What Hugging Face says about a repository: its commit and its files with their sizes and hashes. */
import { DownloadError, errorOf } from "./errors";
import { type Connection, request } from "./request";

export interface RemoteFile {
  path: string;
  /** Bytes. */
  size: number;
  /** Of the content (large files), or of Git's object with it (small ones); hexadecimal. */
  hash: { algorithm: "sha256" | "git-sha1"; value: string };
}

export interface Repository {
  name: string;
  /** All files are those of this commit, however long the download takes. */
  commit: string;
  files: RemoteFile[];
}

export async function readRepository(name: string, connection: Connection): Promise<Repository> {
  const { sha } = (await readJson(`api/models/${name}`, name, connection)) as { sha?: unknown };
  if (typeof sha !== "string" || !/^[0-9a-f]{7,64}$/.test(sha)) throw misunderstood(name);
  const entries = await readJson(`api/models/${name}/tree/${sha}?recursive=true`, name, connection);
  if (!Array.isArray(entries)) throw misunderstood(name);
  const files = entries.filter((entry) => entry?.type === "file").map((entry) => fileOf(entry, name));
  return { name, commit: sha, files };
}

/** Where the content of a file is. */
export function addressOf({ name, commit }: Repository, path: string): string {
  return `${name}/resolve/${commit}/${path.split("/").map(encodeURIComponent).join("/")}`;
}

function fileOf(entry: Record<string, unknown>, name: string): RemoteFile {
  const { path, size, oid } = entry;
  const lfs = entry.lfs as { oid?: unknown; size?: unknown } | undefined;
  const isWhole = typeof path === "string" && typeof size === "number" && typeof oid === "string";
  // A path that leaves the folder would be written somewhere else.
  if (!isWhole || /(^|\/)\.\.(\/|$)|^\/|\\/.test(path)) throw misunderstood(name);
  if (lfs === undefined) return { path, size, hash: { algorithm: "git-sha1", value: oid } };
  if (typeof lfs.oid !== "string" || typeof lfs.size !== "number") throw misunderstood(name);
  return { path, size: lfs.size, hash: { algorithm: "sha256", value: lfs.oid } };
}

async function readJson(path: string, name: string, connection: Connection): Promise<unknown> {
  return request(path, {}, connection, async (response) => {
    if (!response.ok) throw errorOf(response, name, name, connection.token !== undefined);
    const text = await response.text();
    try {
      return JSON.parse(text);
    } catch (error) {
      if (error instanceof SyntaxError) throw misunderstood(name);
      throw error;
    }
  });
}

function misunderstood(name: string): DownloadError {
  return new DownloadError(
    "other",
    `The answer of Hugging Face about ${name} makes no sense; a proxy may have answered instead, or try again later.`,
  );
}
