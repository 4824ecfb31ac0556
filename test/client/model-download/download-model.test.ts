import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { downloadableModels } from "../../../client/model-download/catalogue";
import {
  type DownloadOptions,
  type DownloadProgress,
  downloadModel,
} from "../../../client/model-download/download-model";
import { DownloadError } from "../../../client/model-download/errors";
import type { Connection } from "../../../client/model-download/request";
import { answers, COMMIT, drops, HubServer, send, stalls, truncates } from "./hub-server";

const model = downloadableModels[0];
const weights = Buffer.from(Array.from({ length: 50_000 }, (_, index) => (index * 7) % 251));
const repositories = {
  "facebook/blt-1b": {
    "config.json": Buffer.from('{"args": {}}'),
    "train_args.json": Buffer.from("{}"),
    "model.safetensors": weights,
    "entropy_model/consolidated.pth": Buffer.from("not needed"),
    "README.md": Buffer.from("not needed"),
    LICENSE: Buffer.from("licence"),
  },
  "facebook/blt-entropy": {
    "config.json": Buffer.from('{"args": {"dim": 8}}'),
    "model.safetensors": Buffer.from("entropy"),
  },
};
const files = [
  "LICENSE",
  "config.json",
  "entropy_model",
  "entropy_model/config.json",
  "entropy_model/model.safetensors",
  "model.safetensors",
  "train_args.json",
];

describe("model download", () => {
  let hub: HubServer;
  let folder: string;
  let progress: DownloadProgress[];

  beforeEach(async () => {
    hub = await HubServer.start(repositories);
    folder = join(mkdtempSync(join(tmpdir(), "blt-download-")), "blt-1b");
    progress = [];
  });
  afterEach(async () => {
    await hub.stop();
    rmSync(join(folder, ".."), { recursive: true });
  });

  function download(connection: Partial<Connection> = {}, options: Partial<DownloadOptions> = {}): Promise<void> {
    return downloadModel(model, folder, {
      connection: { endpoint: hub.endpoint, token: "hf_secret", backOffMs: [1, 1, 1], stallMs: 20_000, ...connection },
      onProgress: (state) => progress.push(state),
      ...options,
    });
  }

  function isComplete(): void {
    const found = readdirSync(folder, { recursive: true, encoding: "utf8" }).map((name) => name.replaceAll("\\", "/"));
    assert.deepEqual(found.sort(), files);
    assert.deepEqual(readFileSync(join(folder, "model.safetensors")), weights);
  }

  async function isRefused(sentence: RegExp, kind: DownloadError["kind"] | null, ...args: Parameters<typeof download>) {
    await assert.rejects(download(...args), (error: Error) => {
      assert.match(error.message, sentence);
      assert.doesNotMatch(error.message, /hf_secret|\n/);
      assert.equal(error instanceof DownloadError ? error.kind : null, kind);
      return true;
    });
    assert.equal(existsSync(join(folder, "config.json")), false, "an incomplete folder looks like a model");
    assert.equal(existsSync(join(folder, "download.lock")), false);
  }

  /** Ranges asked for in the requests for the weights. */
  const ranges = () =>
    hub.downloads
      .filter(({ path }) => path.includes("blt-1b/resolve") && path.endsWith("model.safetensors"))
      .map(({ range }) => range);
  /** Gives the faults to the weights alone. */
  function weightsFault(...faults: HubServer["faults"]): void {
    const order = Object.keys(repositories["facebook/blt-1b"]).filter(
      (name) => files.includes(name) && name !== "config.json",
    );
    hub.faults.push(...order.slice(0, order.indexOf("model.safetensors")).map(() => () => false), ...faults);
  }

  it("takes what the model needs, from one commit, with the user's token, the configuration last", async () => {
    await download();
    isComplete();
    assert.ok(hub.downloads.every(({ path }) => path.includes(`/resolve/${COMMIT}/`)));
    assert.ok(hub.asked.every(({ authorization }) => authorization === "Bearer hf_secret"));
    assert.match(hub.downloads.at(-1)!.path, /blt-1b\/resolve\/\w+\/config\.json$/);
  });
  it("tells how far it is", async () => {
    await download();
    const total = 12 + 2 + 50_000 + 7 + 20 + 7;
    assert.ok(
      progress.every((state, index) => state.total === total && state.bytes >= (progress[index - 1]?.bytes ?? 0)),
    );
    assert.equal(progress.at(-1)!.bytes, total);
  });
  it("takes nothing again that is there and right", async () => {
    await download();
    const { length } = hub.downloads;
    await download();
    assert.equal(hub.downloads.length, length);
  });

  it("goes on where the connection broke", async () => {
    weightsFault(drops(20_000), drops(10_000));
    await download();
    isComplete();
    const [first, ...others] = ranges();
    assert.equal(first, undefined);
    assert.equal(others.length, 2);
    assert.ok(
      others.every((range) => Number(/\d+/.exec(range!)) >= 10_000),
      others.join(),
    );
  });
  it("goes on where an answer ended early", async () => {
    weightsFault(truncates(30_000));
    await download();
    isComplete();
    assert.deepEqual(ranges(), [undefined, "bytes=30000-"]);
  });
  it("goes on when the connection stalls", async () => {
    weightsFault(stalls(1000));
    await download({ stallMs: 300 });
    isComplete();
    assert.equal(ranges().length, 2);
  });
  it("goes on after the server was busy, and as late as it wants", async () => {
    weightsFault(answers(503), answers(429, "", { "retry-after": "1" }));
    const began = performance.now();
    await download();
    isComplete();
    assert.ok(performance.now() - began > 950);
    assert.ok(progress.some(({ doing }) => doing.includes("the server answered 503, trying again")));
  });
  it("gives up when there is no progress any more, and goes on later", async () => {
    weightsFault(drops(20_000), ...Array(4).fill(answers(500)));
    await isRefused(/the server answered 500; check the connection and start the download again/, null);
    await download();
    isComplete();
    assert.match(ranges().at(-1)!, /^bytes=\d{4,}-$/);
  });
  it("gives up when the server can only begin at the start and always breaks there", async () => {
    const beginning = truncates(20_000);
    weightsFault(beginning, ...Array(4).fill(beginning));
    await isRefused(/ended early; check the connection/, null);
  });
  it("begins anew where the server ignores ranges", async () => {
    weightsFault(drops(20_000), (_asked, response, content) => {
      send({ path: "", range: undefined, authorization: undefined }, response, content);
      return true;
    });
    await download();
    isComplete();
  });
  it("begins anew where the server sends another range", async () => {
    weightsFault(drops(20_000), (_asked, response, content) => {
      response.writeHead(206, { "content-range": `bytes 5-${content.length - 1}/${content.length}` });
      response.end(content.subarray(5));
      return true;
    });
    await download();
    isComplete();
  });
  it("begins anew after 416", async () => {
    weightsFault(drops(20_000), answers(416));
    await download();
    isComplete();
    assert.equal(ranges().at(-1), undefined);
  });
  it("begins anew when what is there is longer than the file", async () => {
    mkdirSync(folder);
    writeFileSync(join(folder, "model.safetensors.part"), Buffer.alloc(60_000));
    await download();
    isComplete();
  });
  it("replaces a file whose content is another one", async () => {
    await download();
    writeFileSync(join(folder, "model.safetensors"), Buffer.alloc(50_000));
    await download();
    isComplete();
  });
  it("takes a file once more whose hash is wrong", async () => {
    weightsFault(answers(200, Buffer.alloc(50_000)));
    await download();
    isComplete();
  });
  it("refuses a file whose hash stays wrong", async () => {
    weightsFault(answers(200, Buffer.alloc(50_000)), answers(200, Buffer.alloc(50_000)));
    await isRefused(/facebook\/blt-1b\/model\.safetensors came with the wrong content twice/, "other");
  });
  it("refuses a file that is longer than announced", async () => {
    weightsFault(answers(200, Buffer.alloc(60_000)));
    await isRefused(/longer than announced/, "other");
  });

  it("says that a token is needed", async () => {
    weightsFault(answers(401));
    await isRefused(/given to people with an account only \(401\); enter an access token/, "token", {
      token: undefined,
    });
  });
  it("says that the token is not accepted", async () => {
    weightsFault(answers(401));
    await isRefused(/does not accept the access token \(401\)/, "token");
  });
  it("says that the licence is not accepted", async () => {
    weightsFault(answers(403));
    await isRefused(/no access to facebook\/blt-1b \(403\); accept its licence/, "licence");
  });
  it("says what is missing", async () => {
    weightsFault(answers(404));
    await isRefused(/facebook\/blt-1b\/model\.safetensors is not there \(404\)/, "other");
    hub.apiStatus = 404;
    await isRefused(/facebook\/blt-1b is not there \(404\)/, "other");
  });
  it("says that another status is none it knows", async () => {
    weightsFault(answers(418));
    await isRefused(/the server answered 418/, "other");
  });
  it("refuses an answer that is no description of a repository", async () => {
    for (const body of ["<html>", "[]", "{}", '{"sha": "../../etc"}']) {
      hub.apiBody = body;
      await isRefused(/The answer of Hugging Face about facebook\/blt-1b makes no sense/, "other");
    }
  });
  it("says that there is no connection", async () => {
    const server = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    const { port } = server.address() as AddressInfo;
    await new Promise((resolve) => server.close(resolve));
    const doings: string[] = [];
    const sentence = new RegExp(
      `^127\\.0\\.0\\.1:${port} cannot be reached \\(ECONNREFUSED\\); check the network and the setting http\\.proxy, and start`,
    );
    const endpoint = `http://127.0.0.1:${port}`;
    await isRefused(sentence, null, { endpoint }, { onProgress: ({ doing }) => doings.push(doing) });
    assert.match(doings[0], /cannot be reached \(ECONNREFUSED\), trying again$/);
  });

  it("does not begin when the disk is too full", async () => {
    const sentence = /facebook\/blt-1b needs 0\.2 GB more on the disk with .*, which has 0\.1 GB left; make room/;
    await isRefused(sentence, "other", {}, { freeBytes: async () => 1e8 });
    assert.equal(hub.downloads.length, 0);
  });
  it("says that a file stands where the folder should be", async () => {
    writeFileSync(folder, "");
    await assert.rejects(download(), /blt-1b cannot be made, since a file stands in its place/);
    rmSync(folder);
  });
  it("is not started twice", async () => {
    mkdirSync(folder);
    writeFileSync(join(folder, "download.lock"), String(process.pid));
    await assert.rejects(download(), /is being downloaded already/);
    // A process that has ended, or none.
    writeFileSync(join(folder, "download.lock"), "");
    await download();
    isComplete();
  });
  it("can be cancelled at any time, and goes on later", async () => {
    const cancel = new AbortController();
    weightsFault(stalls(20_000));
    await assert.rejects(
      download(
        { signal: cancel.signal },
        {
          onProgress({ bytes }) {
            if (bytes > 10_000) cancel.abort();
          },
        },
      ),
      (error) => error === cancel.signal.reason,
    );
    await download();
    isComplete();
    assert.match(ranges().at(-1)!, /^bytes=\d{5}-$/);
  });
  it("shows the token to the endpoint alone, not to where it redirects", async () => {
    const seen: (string | undefined)[] = [];
    const elsewhere = createServer(({ headers }, response) => {
      seen.push(headers.authorization);
      response.end(weights);
    }).listen(0, "localhost");
    await new Promise((resolve) => elsewhere.once("listening", resolve));
    const { port } = elsewhere.address() as AddressInfo;
    weightsFault(answers(302, "", { location: `http://localhost:${port}/store` }));
    await download();
    isComplete();
    assert.deepEqual(seen, [undefined]);
    await new Promise((resolve) => elsewhere.close(resolve));
  });
});
