/** A Hugging Face on this machine whose files and faults the test chooses. */
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface Asked {
  path: string;
  range: string | undefined;
  authorization: string | undefined;
}

/** Answers a request for a file's content in place of the server; returns false to let it answer. */
export type Fault = (asked: Asked, response: ServerResponse, content: Buffer) => boolean;

export const COMMIT = "0123456789abcdef0123456789abcdef01234567";

export class HubServer {
  readonly asked: Asked[] = [];
  /** Before each answer about a file's content, in their order; each is used once. */
  readonly faults: Fault[] = [];
  /** Status of all answers that describe repositories, unless 200. */
  apiStatus = 200;
  apiBody: string | null = null;
  private readonly server: Server;

  private constructor(private readonly repositories: Record<string, Record<string, Buffer>>) {
    this.server = createServer((request, response) => this.answer(request, response));
  }

  static async start(repositories: Record<string, Record<string, Buffer>>): Promise<HubServer> {
    const hub = new HubServer(repositories);
    await new Promise<void>((resolve) => hub.server.listen(0, "127.0.0.1", resolve));
    return hub;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** Requests for the content of files. */
  get downloads(): Asked[] {
    return this.asked.filter(({ path }) => path.includes("/resolve/"));
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private answer({ url, headers }: IncomingMessage, response: ServerResponse): void {
    const path = decodeURIComponent((url ?? "").split("?")[0].slice(1));
    const asked = { path, range: headers.range, authorization: headers.authorization };
    this.asked.push(asked);
    const api = /^api\/models\/([^/]+\/[^/]+)(\/tree\/\w+)?$/.exec(path);
    if (api !== null) {
      response.statusCode = this.apiStatus;
      response.end(this.apiBody ?? JSON.stringify(api[2] === undefined ? { sha: COMMIT } : this.tree(api[1])));
      return;
    }
    const [, name, file] = /^([^/]+\/[^/]+)\/resolve\/\w+\/(.*)$/.exec(path) ?? [];
    const content = this.repositories[name]?.[file];
    if (content === undefined) {
      response.statusCode = 404;
      response.end();
      return;
    }
    if (this.faults.shift()?.(asked, response, content)) return;
    send(asked, response, content);
  }

  private tree(name: string): unknown[] {
    return [
      { type: "directory", path: "folder", oid: "0", size: 0 },
      ...Object.entries(this.repositories[name] ?? {}).map(([path, content]) => ({
        type: "file",
        path,
        size: path.endsWith(".safetensors") ? 130 : content.length,
        oid: createHash("sha1").update(`blob ${content.length}\0`).update(content).digest("hex"),
        ...(path.endsWith(".safetensors")
          ? { lfs: { oid: createHash("sha256").update(content).digest("hex"), size: content.length } }
          : {}),
      })),
    ];
  }
}

/** Sends a file as asked for, the first `length` bytes of the answer only if given, then breaks the connection. */
export function send({ range }: Asked, response: ServerResponse, content: Buffer, length?: number): void {
  const start = Number(/^bytes=(\d+)-$/.exec(range ?? "")?.[1] ?? 0);
  if (start >= content.length && range !== undefined) {
    response.statusCode = 416;
    response.end();
    return;
  }
  response.statusCode = range === undefined ? 200 : 206;
  if (range !== undefined)
    response.setHeader("content-range", `bytes ${start}-${content.length - 1}/${content.length}`);
  response.setHeader("content-length", content.length - start);
  if (length === undefined) response.end(content.subarray(start));
  else response.write(content.subarray(start, start + length), () => setTimeout(() => response.destroy(), 20));
}

export const drops =
  (length: number): Fault =>
  (asked, response, content) => {
    send(asked, response, content, length);
    return true;
  };

/** Sends the beginning and then nothing more, with the connection open. */
export const stalls =
  (length: number): Fault =>
  (_asked, response, content) => {
    response.setHeader("content-length", content.length);
    response.write(content.subarray(0, length));
    return true;
  };

/** Ends in good order before the file does. */
export const truncates =
  (length: number): Fault =>
  (_asked, response, content) => {
    response.end(content.subarray(0, length));
    return true;
  };

export const answers =
  (status: number, body: string | Buffer = "", headers: Record<string, string> = {}): Fault =>
  (_asked, response) => {
    response.writeHead(status, headers);
    response.end(body);
    return true;
  };
