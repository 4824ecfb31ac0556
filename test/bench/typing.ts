/**
 * How long the language server takes while someone types: `npx tsx test/bench/typing.ts [--model DIR] [--places N]`.
 * Starts the real server (`npm run build` first) over stdio, prints Markdown (docs/performance-completion.md explains it).
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import {
  type Decision,
  MEASUREMENTS_REQUEST,
  type Measurements,
  STATUS_REQUEST,
  type Status,
  WHY_REQUEST,
} from "../../server/protocol";
import { LspClient } from "../server/lsp-client";
import { describeMachine } from "./lib/machine";
import { type Answer, actions, Typist } from "./lib/typist";

const root = join(__dirname, "../..");
const uri = "file:///bench.js";
const sizes = [2_000, 20_000, 200_000];
/** Fresh servers for the first suggestion. */
const COLD_STARTS = 3;
/** Median time between two keys of a quick typist, ms. */
const KEY_MS = 150;

interface Session {
  size: number;
  /** From the start of the process to the first answer, ms, and of that from `didOpen` on. */
  cold: { all: number; sinceOpen: number }[];
  patient: Answer[];
  hurried: Answer[];
  /** Times of answers from the cache, among the last 50, ms: of both typists. */
  cached: number[];
  /** Of the patient typist. */
  measured: Measurements;
  /** Of the hurried one. */
  hurriedMeasured: Measurements;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { model: { type: "string", default: "" }, places: { type: "string", default: "6" } },
  });
  if (!existsSync(program)) throw new Error(`${program} is missing; run "npm run build" first`);
  const places = Number(values.places);
  if (!(Number.isInteger(places) && places >= 0))
    throw new Error(`--places is "${values.places}", but must be 0 (first suggestions only) or more`);
  const configuration = { modelPath: values.model };
  const sessions: Session[] = [];
  let status: Status | null = null;
  for (const size of sizes) {
    process.stderr.write(`${size / 1000} kB\n`);
    const text = sourceText(size);
    const cold = [];
    for (let start = 0; start < COLD_STARTS; start++) cold.push(await coldStart(configuration, text));
    const { client, ready } = await openServer(configuration, text);
    status = ready;
    const patient = new Typist(client, uri, text, size);
    await patient.ask("jump", text.length);
    await measure(client);
    for (let place = 0; place < places; place++) await patient.retype({ keyMs: null });
    const measured = await measure(client);
    const cached = await cachedAnswers(client);
    await client.change(uri, [{ text }]);
    const hurried = new Typist(client, uri, text, size + 1);
    for (let place = 0; place < places; place++) await hurried.retype({ keyMs: KEY_MS });
    sessions.push({
      size,
      cold,
      patient: patient.answers.slice(1),
      hurried: hurried.answers,
      measured,
      cached: [...cached, ...(await cachedAnswers(client))],
      hurriedMeasured: await measure(client),
    });
    await client.stop();
  }
  process.stdout.write(`${report(status!, sessions)}\n`);
}

const program = join(root, "dist/server.js");

async function openServer(configuration: object, text: string): Promise<{ client: LspClient; ready: Status }> {
  const client = new LspClient({ program, configuration });
  await client.initialize();
  await client.open(uri, text, "javascript");
  const ready = await client.status(({ state }) => state.kind === "ready" || state.kind === "problem");
  if (ready.state.kind === "problem") throw new Error(ready.state.sentence);
  return { client, ready };
}

/** A first request that is made before the model is loaded, as when an editor starts with a file. */
async function coldStart(configuration: object, text: string): Promise<Session["cold"][number]> {
  const began = performance.now();
  const client = new LspClient({ program, configuration });
  await client.initialize();
  const opened = performance.now();
  await client.open(uri, text, "javascript");
  await new Typist(client, uri, text, 0).ask("jump", text.length);
  const ended = performance.now();
  await client.connection.sendRequest(STATUS_REQUEST);
  await client.stop();
  return { all: ended - began, sinceOpen: ended - opened };
}

function measure(client: LspClient): Promise<Measurements> {
  return client.connection.sendRequest(MEASUREMENTS_REQUEST, { reset: true });
}

async function cachedAnswers(client: LspClient): Promise<number[]> {
  const decisions = await client.connection.sendRequest<Decision[]>(WHY_REQUEST, null);
  return decisions.filter(({ reason }) => reason === "shownFromCache").map((decision) => decision.ms);
}

/** Real code: mocha's library, as package-lock.json pins it, as often as needed. */
function sourceText(size: number): string {
  const folder = join(root, "node_modules/mocha/lib");
  const names = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) => /\.[cm]?js$/.test(name));
  const all = names.sort().map((name) => readFileSync(join(folder, name), "utf8"));
  let text = "";
  for (let index = 0; text.length < size; index++) text += all[index % all.length];
  return text.slice(0, text.lastIndexOf("\n", size) + 1);
}

function report({ state }: Status, sessions: Session[]): string {
  const machine = describeMachine();
  const model = state.kind === "ready" ? `${state.model} on ${state.device}, kernel ${state.kernel ?? "fp32"}` : "";
  return [
    `Machine: ${machine.processor}, ${machine.cores} cores, ${machine.memoryGb.toFixed(0)} GB; ${machine.system}; Node ${machine.node}.`,
    `Model: ${model}.`,
    "",
    "First suggestion, ms (median of fresh servers):",
    "",
    table(
      ["file", "process start to answer", "didOpen to answer"],
      sessions.map(({ size, cold }) => [
        kilobytes(size),
        ms(
          percentile(
            cold.map(({ all }) => all),
            50,
          ),
        ),
        ms(
          percentile(
            cold.map(({ sinceOpen }) => sinceOpen),
            50,
          ),
        ),
      ]),
    ),
    "",
    "didChange to answer, ms, by a typist who waits for each answer (items: answers that hold one):",
    "",
    table(
      ["file", "action", "requests", "items", "item p50", "p90", "p99", "any answer p50", "p90", "p99"],
      sessions.flatMap(({ size, patient }) => [
        ...actions.map((action) =>
          row(
            size,
            action,
            patient.filter((answer) => answer.action === action),
          ),
        ),
        row(size, "all", patient),
      ]),
    ),
    "",
    `A quick typist (median ${KEY_MS} ms between keys) who does not wait:`,
    "",
    table(
      ["file", "requests", "answered before the next key", "items", "item p50", "p90", "p99"],
      sessions.map(({ size, hurried }) => {
        const answered = hurried.filter(({ hasItem }) => hasItem !== null);
        const items = hurried.filter(({ hasItem }) => hasItem).map((answer) => answer.ms);
        return [
          kilobytes(size),
          `${hurried.length}`,
          share(answered.length, hurried.length),
          share(items.length, hurried.length),
          ...percentiles(items),
        ];
      }),
    ),
    "",
    "The server meanwhile (waiting typist / quick typist):",
    "",
    table(
      [
        "file",
        "items from the cache",
        "in ms, p50, p99",
        "from running work",
        "context reused",
        "longest block, ms",
        "of it computing",
        "LSP thread busy",
        "resident, MB",
      ],
      sessions.map(({ size, cached, measured, hurriedMeasured }) => {
        const both = [measured, hurriedMeasured];
        const each = (read: (one: Measurements) => string) => both.map(read).join(" / ");
        const items = ({ answers }: Measurements) => answers.fromCache + answers.fromModel + answers.fromRunning;
        return [
          kilobytes(size),
          each((one) => share(one.answers.fromCache, items(one))),
          [percentile(cached, 50), percentile(cached, 99)].map((each) => each?.toFixed(1) ?? "-").join(", "),
          each((one) => share(one.answers.fromRunning, items(one))),
          each((one) => share(one.reusedBytes, one.reusedBytes + one.processedBytes)),
          each((one) => one.longestBlockMs.toFixed(1)),
          each((one) => one.longestComputingMs?.toFixed(1) ?? "-"),
          each((one) => `${(100 * one.utilization).toFixed(1)} %`),
          each((one) => (one.residentBytes / 1e6).toFixed(0)),
        ];
      }),
    ),
  ].join("\n");
}

function row(size: number, action: string, answers: Answer[]): string[] {
  const items = answers.filter(({ hasItem }) => hasItem).map((answer) => answer.ms);
  return [
    kilobytes(size),
    action,
    `${answers.length}`,
    `${items.length}`,
    ...percentiles(items),
    ...percentiles(answers.map((answer) => answer.ms)),
  ];
}

function table(head: string[], rows: string[][]): string {
  const line = (cells: string[]) => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map((_, index) => (index === 0 ? "---" : "---:"))), ...rows.map(line)].join("\n");
}

function percentiles(values: number[]): string[] {
  return [50, 90, 99].map((percent) => (values.length === 0 ? "-" : ms(percentile(values, percent))));
}

/** The smallest value that at least `percent` of the values do not exceed. */
function percentile(values: number[], percent: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)];
}

function ms(value: number): string {
  return value < 10 ? value.toFixed(1) : value.toFixed(0);
}

function kilobytes(size: number): string {
  return `${size / 1000} kB`;
}

function share(part: number, whole: number): string {
  return whole === 0 ? "-" : `${((100 * part) / whole).toFixed(0)} %`;
}

main().catch((error: Error) => {
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
});
