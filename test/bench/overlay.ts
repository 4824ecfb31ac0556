/**
 * How long overlay and explorer take: `npx tsx test/bench/overlay.ts [--model DIR] [--keys N]`, Markdown on stdout; about
 * 100 s. Starts the real server (`npm run build` first), and for the explorer's page a Chromium (CHROMIUM, default
 * /usr/bin/chromium). Keys in the large text are typed while the rest of it is still being read, as after opening.
 */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";
import { decorationsOf } from "../../client/overlay-decorations";
import { OverlayLines } from "../../client/overlay-lines";
import { float32 } from "../../media/explorer/segmentations";
import {
  EXPLORE_REQUEST,
  EXPLORER_LIMIT,
  LINES_NOTIFICATION,
  type LinesParams,
  READING_NOTIFICATION,
  type Reading,
  type ReadingState,
  TOKENIZE_REQUEST,
  type Tokenized,
  WATCH_NOTIFICATION,
} from "../../server/overlay-protocol";
import { LspClient } from "../server/lsp-client";
import { describeMachine } from "./lib/machine";

const root = join(__dirname, "../..");
const uri = "file:///bench.ts";
/** The larger one with room for keys below the limit of what is read. */
const sizes = [20_000, 999_000];
/** Lines in view: a tall window, with the overlay's margin. */
const VIEW = 90;
/** Pause between keys, ms. */
const KEY_MS = 100;
/** Lines that have not come after so long do not come, ms. */
const PATIENCE_MS = 30_000;

interface Result {
  size: number;
  /** From the end of `didOpen` to the lines in view, ms. */
  first: number;
  /** From the edit to the last lines that it changed, ms: alone, and while a suggestion is asked for at each key. */
  alone: number[];
  typing: number[];
  /** Of suggestions, ms: with the overlay, and without. */
  suggestions: { with: number[]; without: number[] };
  /** Until all of the text was read, ms; null where keys were typed before. */
  settled: number | null;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      model: { type: "string", default: join(root, "models/default") },
      keys: { type: "string", default: "40" },
    },
  });
  const keys = Number(values.keys);
  const results: Result[] = [];
  for (const size of sizes) results.push(await measureOverlay(values.model, size, keys));
  const explorer = await measureExplorer(values.model);
  const { processor, cores } = describeMachine();
  console.log(`${processor}, ${cores} cores, Node ${process.version}; ${values.model.slice(root.length + 1)}\n`);
  console.log("| | 20 kB | 1 MB |\n|---|---|---|");
  const row = (name: string, of: (result: Result) => string) =>
    console.log(`| ${name} | ${results.map(of).join(" | ")} |`);
  row("a key, ms to its lines (median, 95th percentile)", ({ alone }) => pair(alone));
  row("the same with a suggestion asked for at each key", ({ typing }) => pair(typing));
  row("a suggestion, ms, with the overlay", ({ suggestions }) => pair(suggestions.with));
  row("a suggestion, ms, without", ({ suggestions }) => pair(suggestions.without));
  row("lines in view after opening, ms", ({ first }) => first.toFixed(0));
  row("all of the text read, s", ({ settled }) => (settled === null ? "" : (settled / 1000).toFixed(1)));
  console.log(`\nClient, ${VIEW} lines: ${measureDrawing().toFixed(2)} ms to find the decorations.`);
  console.log(
    `Explorer, 20 kB: ${explorer.opened.toFixed(0)} ms to the first answer with ${(100 * explorer.share).toFixed(0)} % of the entropies, ${explorer.read.toFixed(0)} ms to all of them; the tokens take ${explorer.tokens.toFixed(0)} ms beside that; page ${explorer.page.toFixed(0)} ms from its script's start to the text drawn, threshold moved in ${explorer.drag.toFixed(1)} ms.`,
  );
}

async function measureOverlay(model: string, size: number, keys: number): Promise<Result> {
  const text = sourceText(size);
  const lineCount = text.split("\n").length;
  const middle = Math.floor(lineCount / 2);
  const client = new LspClient({
    program: join(root, "dist/server.js"),
    configuration: { modelPath: model, minConfidence: 0, delay: 0 },
  });
  await client.initialize();
  const updates = new Updates(client);
  await client.status(({ state }) => state.kind === "ready");
  await client.open(uri, text);
  const opened = performance.now();
  const ranges = [{ from: middle - VIEW / 2, to: middle + VIEW / 2 }];
  await client.connection.sendNotification(WATCH_NOTIFICATION, { uri, ranges });
  const first = (await updates.quiet(1)) - opened;
  const settled = size > sizes[0] ? null : (await updates.settled(1)) - opened;
  let version = 1;
  const key = async (isSuggesting: boolean, suggestions: number[]) => {
    const started = performance.now();
    version++;
    await client.insert(uri, middle, 0, "x");
    const asked = isSuggesting ? client.complete(uri, middle, 1) : null;
    const asking = performance.now();
    void asked?.then(() => suggestions.push(performance.now() - asking));
    const done = await updates.quiet(version);
    await asked;
    await new Promise((resolve) => setTimeout(resolve, KEY_MS));
    return done - started;
  };
  const result: Result = { size, first, alone: [], typing: [], suggestions: { with: [], without: [] }, settled };
  for (let i = 0; i < keys; i++) result.alone.push(await key(false, []));
  for (let i = 0; i < keys / 2; i++) result.typing.push(await key(true, result.suggestions.with));
  await client.connection.sendNotification(WATCH_NOTIFICATION, { uri, ranges: [] });
  for (let i = 0; i < keys / 2; i++) {
    version++;
    await client.insert(uri, middle, 0, "x");
    const asking = performance.now();
    await client.complete(uri, middle, 1);
    result.suggestions.without.push(performance.now() - asking);
    await new Promise((resolve) => setTimeout(resolve, KEY_MS));
  }
  await client.stop();
  return result;
}

/** When lines of a version came, the last ones before a pause. */
class Updates {
  private readonly lastAt = new Map<number, number>();
  private readonly settledAt = new Map<number, number>();

  constructor(client: LspClient) {
    client.connection.onNotification(LINES_NOTIFICATION, ({ version }: LinesParams) => {
      this.lastAt.set(version, performance.now());
    });
    client.connection.onNotification(READING_NOTIFICATION, ({ surprising }: ReadingState) => {
      if (surprising !== null) this.settledAt.set(surprising.version, performance.now());
    });
  }

  /** Time of the last lines of a version, once none have come for a while. */
  async quiet(version: number): Promise<number> {
    for (const asked = performance.now(); ; ) {
      if (performance.now() > asked + PATIENCE_MS) throw new Error(`No lines of version ${version} came.`);
      const at = this.lastAt.get(version);
      if (at !== undefined && performance.now() > at + 100) return at;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  async settled(version: number): Promise<number> {
    while (!this.settledAt.has(version)) await new Promise((resolve) => setTimeout(resolve, 20));
    return this.settledAt.get(version)!;
  }
}

/** ms to take lines and to find their decorations, in the client. */
function measureDrawing(): number {
  const lines = sourceText(20_000).split("\n").slice(0, VIEW);
  const views = lines.map((text) => ({
    levels: Array.from(text, (_, i) => String(i % 8)).join(""),
    starts: Array.from({ length: Math.ceil(text.length / 4) }, (_, i) => i * 4),
    inner: [],
  }));
  const times: number[] = [];
  for (let i = 0; i < 200; i++) {
    const started = performance.now();
    const shown = new OverlayLines();
    shown.take({ uri, version: 1, parts: [{ line: 0, lines: views }] });
    decorationsOf(
      lines.map((text, line) => ({ line, text, view: shown.at(line)! })),
      "both",
    );
    times.push(performance.now() - started);
  }
  return quantile(times, 0.5);
}

async function measureExplorer(model: string) {
  const [size] = sizes;
  const text = sourceText(size);
  const client = new LspClient({ program: join(root, "dist/server.js"), configuration: { modelPath: model } });
  await client.initialize();
  await client.status(({ state }) => state.kind === "ready");
  await client.open(uri, text);
  const started = performance.now();
  const first = await client.connection.sendRequest<Reading>(EXPLORE_REQUEST, { uri, patienceMs: 250 });
  const opened = performance.now() - started;
  const reading = await client.connection.sendRequest<Reading>(EXPLORE_REQUEST, { uri });
  const read = performance.now() - started;
  const asked = performance.now();
  const params = { text: reading.text, tokenizerFile: null };
  const tokens = await client.connection.sendRequest<Tokenized[]>(TOKENIZE_REQUEST, params);
  const tokenized = performance.now() - asked;
  await client.stop();
  const share = first.isComplete ? 1 : float32(first.entropies).filter((each) => !Number.isNaN(each)).length / size;
  return { opened, share, read, tokens: tokenized, ...(await measurePage(reading, tokens)) };
}

/** The page itself, outside the editor: from its script's start to the text drawn, and a move of the threshold. */
async function measurePage(reading: Reading, tokens: Tokenized[]): Promise<{ page: number; drag: number }> {
  const folder = mkdtempSync(join(tmpdir(), "blt-explorer-"));
  const [script, style] = ["explorer.js", "explorer.css"].map((name) => pathToFileURL(join(root, "dist", name)).href);
  const messages = JSON.stringify([
    { type: "reading", name: "bench.ts", limit: EXPLORER_LIMIT, reading },
    { type: "tokens", tokens },
  ]);
  const page = `<!DOCTYPE html><meta charset="utf-8"><link rel="stylesheet" href="${style}"><body style="height:900px">
${readFileSync(join(root, "media/explorer/page.html"), "utf8")}
<script>window.acquireVsCodeApi = () => ({ postMessage() {}, getState() {}, setState() {} }); window.begun = performance.now();</script>
<script src="${script}"></script>
<script>for (const data of ${messages.replaceAll("<", "\\u003c")}) window.dispatchEvent(new MessageEvent("message", { data }));
requestAnimationFrame(() => requestAnimationFrame(() => { window.drawn = performance.now() - window.begun; }));</script>`;
  writeFileSync(join(folder, "page.html"), page);
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox"],
  });
  try {
    const tab = await browser.newPage({ viewport: { width: 1400, height: 900 } });
    await tab.goto(pathToFileURL(join(folder, "page.html")).href);
    await tab.waitForFunction("window.drawn !== undefined");
    const drawn = await tab.evaluate<number>("window.drawn");
    const drag = await tab.evaluate<number>(`(() => {
      const handle = document.querySelector(".threshold");
      const started = performance.now();
      for (let i = 0; i < 20; i++) handle.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowDown" }));
      return (performance.now() - started) / 20;
    })()`);
    return { page: drawn, drag };
  } finally {
    await browser.close();
    rmSync(folder, { recursive: true });
  }
}

/** Real code of this length: the repository's own, again and again. */
function sourceText(size: number): string {
  const folder = join(root, "server");
  const files = readdirSync(folder).filter((name) => name.endsWith(".ts") && existsSync(join(folder, name)));
  let text = "";
  while (text.length < size) for (const name of files) text += readFileSync(join(folder, name), "utf8");
  return text.slice(0, size);
}

function pair(times: readonly number[]): string {
  return `${quantile(times, 0.5).toFixed(0)}, ${quantile(times, 0.95).toFixed(0)}`;
}

function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
