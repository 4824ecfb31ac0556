/** Measurements -> Markdown. Speeds are bytes a second; each figure is a median, with the range of the rounds. */
import type { Machine } from "./machine";
import { CONTEXTS, MEMORY_CONTEXT, type Measurements, type Round } from "./measure";
import { names } from "./names";
import type { NetworkRun } from "./protocol";
import { ratioSpread, type Spread, spread } from "./statistics";

const { engineInt8, engineInt4, engineWasm, engineFp32, llama, transformers, productsInt8, productsFp32 } = names;

type Part = "prefill" | "decode";

export function report(machine: Machine, measurements: Measurements): string {
  return [
    header(machine, measurements),
    wanted(measurements.rounds),
    speeds("Prefill", "prefill", measurements),
    speeds("Decode", "decode", measurements),
    costs(measurements.rounds),
    whereTimeGoes(engineInt8, measurements.rounds),
    whereTimeGoes(engineInt4, measurements.rounds),
    starts(measurements.rounds),
  ].join("\n\n");
}

function header(machine: Machine, { rounds, settings }: Measurements): string {
  const disturbances = rounds.flatMap(({ tasks }) =>
    Object.values(tasks).flatMap((byContext) => Object.values(byContext).map(({ disturbance }) => 100 * disturbance)),
  );
  const { median, max } = spread(disturbances);
  return [
    `Machine: ${machine.processor}, ${machine.cores} cores, ${machine.memoryGb.toFixed(0)} GB; ${machine.system}; Node ${machine.node}; ${machine.instructions.join(", ") || "instructions unknown"}.`,
    `Other processes used ${median.toFixed(1)} % of the cores during a measurement (median), at most ${max.toFixed(0)} %.`,
    `${rounds.length} rounds; median [range].`,
    "",
    ...Object.entries(settings).map(([name, text]) => `- ${name}: ${text}`),
  ].join("\n");
}

function wanted(rounds: Round[]): string {
  const rows: string[][] = [];
  const compare = (part: Part, ours: string, theirs: string, least: number) => {
    for (const bytes of CONTEXTS) {
      if (part === "prefill" && bytes < 2048) continue;
      if (rounds.some(({ tasks }) => !tasks[ours][bytes] || !tasks[theirs][bytes])) continue;
      const ratio = ratioSpread(bytesPerSecond(rounds, ours, bytes, part), bytesPerSecond(rounds, theirs, bytes, part));
      rows.push([what(part, bytes), ours, theirs, times(ratio), `${least} x`, verdict(ratio.median >= least)]);
    }
  };
  const quantized = [engineInt4, engineWasm, engineInt8];
  for (const engine of quantized) compare("decode", engine, llama, 2);
  for (const engine of quantized) compare("prefill", engine, llama, 4);
  compare("decode", engineInt8, transformers, 50);
  compare("prefill", engineInt8, productsInt8, 0.5);
  compare("prefill", engineInt8, productsFp32, 0.5);
  compare("prefill", engineFp32, productsFp32, 0.5);

  for (const engine of quantized) {
    const start = spread(rounds.map(({ starts }) => starts[engine].ms / 1e3));
    rows.push(["start to first byte", engine, "", `${figure(start, 2)} s`, "1.5 s", verdict(start.median < 1.5)]);
  }
  for (const engine of quantized) {
    const memory = rounds.map(({ starts }) => starts[engine].memory);
    if (memory.some((value) => value === null)) continue;
    const megabytes = spread(memory.map((value) => value!.all / 1e6));
    const row = [`resident, ${MEMORY_CONTEXT} bytes of context`, engine, ""];
    rows.push([...row, `${figure(megabytes)} MB`, "350 MB", verdict(megabytes.median < 350)]);
  }
  return table("Wanted", ["", "ours", "against", "measured", "wanted", ""], rows);
}

function speeds(title: string, part: Part, { rounds, settings }: Measurements): string {
  const rows = Object.keys(settings).map((name) => [
    name,
    ...CONTEXTS.map((bytes) =>
      rounds[0].tasks[name][bytes] ? figure(spread(bytesPerSecond(rounds, name, bytes, part))) : "-",
    ),
  ]);
  const contexts = CONTEXTS.map((bytes) => (part === "prefill" ? `${bytes} bytes` : `after ${bytes} bytes`));
  const tokens = rounds.map(({ tasks }) => tasks[llama]);
  const perSecond = (bytes: number) =>
    figure(
      spread(
        tokens.map(({ [bytes]: { tokens, prefillMs, decodeMs } }) =>
          part === "prefill" ? (1e3 * tokens!.prompt) / prefillMs : decodeMs / tokens!.decoded,
        ),
      ),
      part === "prefill" ? 0 : 1,
    );
  const unit = part === "prefill" ? "tokens/s" : "ms a token";
  rows.push([`(${llama}: ${unit})`, ...CONTEXTS.map(perSecond)]);
  return table(`${title}, bytes/s`, ["", ...contexts], rows);
}

function costs(rounds: Round[]): string {
  const rows = [engineInt8, engineInt4, engineWasm, engineFp32].flatMap((name) =>
    CONTEXTS.map((bytes) => {
      const ms = spread(rounds.map(({ tasks }) => tasks[name][bytes].decodeMs / tasks[name][bytes].decodedBytes));
      const patch = { median: 4 * ms.median, min: 4 * ms.min, max: 4 * ms.max };
      const latent = spread(rounds.map(({ tasks }) => msOfRun(tasks[name][bytes].runs!.decode, "latent")));
      return [name, `${bytes} bytes`, figure(ms, 2), figure(patch, 2), figure(latent, 2)];
    }),
  );
  const columns = ["", "context", "ms a byte", "ms a patch (4 bytes)", "of it the latent step"];
  return table("Decode, ms", columns, rows);
}

/** Networks' share of an engine's time; the host's is the rest. */
function whereTimeGoes(engine: string, rounds: Round[]): string {
  const rows = (["prefill", "decode"] as const).flatMap((part) =>
    CONTEXTS.filter((bytes) => part === "decode" || bytes >= 2048).map((bytes) => {
      const all = rounds.map(({ tasks }) => tasks[engine][bytes]);
      const total = (round: number) => (part === "prefill" ? all[round].prefillMs : all[round].decodeMs);
      const share = (pick: (runs: NetworkRun[]) => number) =>
        `${figure(spread(all.map(({ runs }, round) => (100 * pick(runs![part])) / total(round))))} %`;
      const networks = networkNames.map((network) =>
        share((runs) => sum(runs.filter((run) => run.network === network))),
      );
      const host = spread(all.map(({ runs }, round) => 100 - (100 * sum(runs![part])) / total(round)));
      return [what(part, bytes), ...networks, `${figure(host)} %`];
    }),
  );
  return table(`Where the time goes (${engine})`, ["", ...networkNames, "host"], rows);
}

function starts(rounds: Round[]): string {
  const rows = [engineInt8, engineInt4, engineWasm, llama].map((name) => {
    const all = rounds.map(({ starts }) => starts[name]);
    const phases = Object.keys(all[0].ready.phases).map(
      (phase) => `${phase} ${figure(spread(all.map(({ ready }) => ready.phases[phase])))}`,
    );
    const megabytes = (part: "all" | "anonymous" | "mapped") =>
      all.every(({ memory }) => memory) ? figure(spread(all.map(({ memory }) => memory![part] / 1e6))) : "-";
    const ms = figure(spread(all.map((start) => start.ms)));
    return [name, ms, phases.join(", "), megabytes("all"), megabytes("anonymous"), megabytes("mapped")];
  });
  const columns = ["", "ms to the first byte", "of it", "resident MB", "own", "mapped files"];
  return table(`Start (files in the system's cache) and memory with ${MEMORY_CONTEXT} bytes of context`, columns, rows);
}

const networkNames = ["patcher", "encoder", "latent", "decoder"];

function bytesPerSecond(rounds: Round[], name: string, bytes: number, part: Part): number[] {
  return rounds.map(({ tasks }) => {
    const { prefillMs, decodeMs, decodedBytes } = tasks[name][bytes];
    return part === "prefill" ? (1e3 * bytes) / prefillMs : (1e3 * decodedBytes) / decodeMs;
  });
}

function msOfRun(runs: NetworkRun[], network: string): number {
  const own = runs.filter((run) => run.network === network);
  return sum(own) / own.length;
}

function sum(runs: NetworkRun[]): number {
  return runs.reduce((total, { ms }) => total + ms, 0);
}

function what(part: Part, bytes: number): string {
  return part === "prefill" ? `prefill of ${bytes} bytes` : `decode after ${bytes} bytes`;
}

function verdict(met: boolean): string {
  return met ? "met" : "**missed**";
}

function times({ median, min, max }: Spread): string {
  const digits = median < 10 ? 2 : 0;
  return `${median.toFixed(digits)} x [${min.toFixed(digits)}-${max.toFixed(digits)}]`;
}

function figure({ median, min, max }: Spread, digits = median < 10 ? 1 : 0): string {
  return `${median.toFixed(digits)} [${min.toFixed(digits)}-${max.toFixed(digits)}]`;
}

function table(title: string, columns: string[], rows: string[][]): string {
  const line = (cells: string[]) => `| ${cells.join(" | ")} |`;
  const rule = columns.map((_, index) => (index === 0 ? "---" : "---:"));
  return [`### ${title}`, "", line(columns), line(rule), ...rows.map(line)].join("\n");
}
