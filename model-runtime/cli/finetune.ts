/** `blt finetune`: learns an adapter from a folder, and keeps it if it is better. */

import { UserError } from "../errors";
import { fineTuneDefaults } from "../training/defaults";
import { fineTune, runErrorSentence } from "../training/finetune";
import type { FineTuneEvent } from "../training/finetune-hooks";
import { targetKinds } from "../training/kit";
import type { Report } from "../training/report-file";
import { number, text, texts, type Values, wholeNumber } from "./arguments";
import type { Command } from "./command";
import { comparisonLine } from "./eval-adapter";
import { chooseDevice, defaultModel, modelOptions } from "./model";
import type { Terminal } from "./terminal";

const { model, device, threads, json } = modelOptions;
const options = {
  out: text("DIR", "folder for the adapter and its report; a run that was interrupted goes on from here"),
  minutes: number("N", `time for everything (default ${fineTuneDefaults.minutes})`),
  steps: wholeNumber("N", "end training after so many steps instead, whatever time that takes", 1),
  rank: wholeNumber("N", `rank of the adapter (default ${fineTuneDefaults.rank})`, 1),
  alpha: number("X", "strength of the adapter, divided by the rank (default twice the rank)"),
  lr: number("X", `highest learning rate (default ${fineTuneDefaults.rate})`),
  seed: wholeNumber("N", "same seed, same order and first values (default 0)", 0),
  targets: text("KINDS", `kinds of layers to adapt, with commas between (default all: ${targetKinds.join(",")})`),
  layers: wholeNumber("N", "layers of the latent transformer to adapt, from the last (default: by a short timing)", 1),
  labelSmoothing: number("X", "share of each target's mass that is spread over all others (default 0)"),
  without: texts("FOLDER", "leave out this folder of PATH; may be repeated"),
  model,
  device,
  threads,
  json,
};

type FineTuneValues = Values<typeof options>;

export const finetuneCommand: Command<typeof options> = {
  name: "finetune",
  positionals: { usage: "PATH --out DIR", least: 1, most: 1 },
  summary: "learn an adapter from the code in a folder",
  details: [
    "Reads the text files that .gitignore and .bltignore leave, without secrets, generated and vendored files; holds some out; trains; and keeps the adapter (adapter_config.json, adapter_model.safetensors) only if held-out code becomes more probable beyond noise and general code does not suffer. report.json says all that was measured.",
    "Ctrl-C ends after the step at work and keeps the state: the same command goes on from there.",
    "JSON: one event a line, the last one the report.",
  ],
  options,
  writesFiles: true,
  async run({ values, positionals }, terminal) {
    if (values.out === undefined) throw new UserError("Name the folder for the adapter with --out DIR.");
    const rank = values.rank ?? fineTuneDefaults.rank;
    const report = await withSentences(
      fineTune(
        {
          root: positionals[0],
          out: values.out,
          model: defaultModel(values.model),
          minutes: within("--minutes", values.minutes ?? fineTuneDefaults.minutes, 0.01, 10_000),
          steps: values.steps ?? null,
          rank,
          alpha: within("--alpha", values.alpha ?? 2 * rank, 1e-3, 1e4),
          rate: within("--lr", values.lr ?? fineTuneDefaults.rate, 1e-8, 1),
          seed: values.seed ?? 0,
          targets: targetsOf(values.targets),
          layers: values.layers ?? null,
          labelSmoothing: within("--label-smoothing", values.labelSmoothing ?? 0, 0, 0.9),
          filesExclude: {},
          without: (values.without ?? []).map((folder) => folder.replace(/\/+$/, "")),
          device: await chooseDevice(values.device, terminal),
          threads: values.threads,
        },
        {
          onEvent: (event) => show(event, values, terminal),
          signal: terminal.signal,
          whilePaused: async () => undefined,
          isEnough: () => false,
        },
      ),
    );
    if (report === null) {
      terminal.signal.throwIfAborted();
      return;
    }
    if (values.json) return terminal.write(`${JSON.stringify({ type: "report", ...report })}\n`);
    await terminal.write(reportText(report));
  },
};

/** Errors that a person can do something about as a `UserError`. */
async function withSentences<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    const sentence = runErrorSentence(error);
    throw sentence === null ? error : new UserError(sentence);
  }
}

function targetsOf(given: string | undefined): string[] {
  const targets = given === undefined ? [...targetKinds] : given.split(",").map((kind) => kind.trim());
  const unknown = targets.find((kind) => !(targetKinds as readonly string[]).includes(kind));
  if (unknown !== undefined || targets.length === 0)
    throw new UserError(`--targets knows no layers "${unknown ?? ""}"; there are ${targetKinds.join(", ")}.`);
  return targetKinds.filter((kind) => targets.includes(kind));
}

function within(flag: string, value: number, least: number, most: number): number {
  if (value >= least && value <= most) return value;
  throw new UserError(`${flag} must be from ${least} to ${most}, not ${value}.`);
}

function show(event: FineTuneEvent, values: FineTuneValues, terminal: Terminal): void {
  if (values.json) {
    terminal.write(`${JSON.stringify(event)}\n`).catch((error) => {
      // An interruption is reported by the command itself.
      if (!terminal.signal.aborted) throw error;
    });
    return;
  }
  if (event.type === "notice") terminal.notice(event.sentence);
  else if (event.type === "data") terminal.remark(`Learning from ${event.summary}`);
  else if (event.type === "score") {
    const { step, epoch, loss, trainBpb, heldOutBpb, startBpb, accuracy, secondsLeft } = event;
    terminal.remark(
      `step ${step}, epoch ${epoch}: loss ${loss.toFixed(3)}, ${trainBpb.toFixed(3)} bits per byte, ${(100 * accuracy).toFixed(1)} % right; held out ${heldOutBpb.toFixed(4)} (at first ${startBpb.toFixed(4)}), ${Math.round(secondsLeft)} s of training left`,
    );
  }
}

function completionLines(completions: Report["verdict"]["completions"]): string[] {
  if (completions === null) return [];
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
  return (["plain", "mixed"] as const).map((kind) => {
    const { bpb, exactMatch, lines } = completions[kind];
    const name = kind === "plain" ? "written" : "with counts";
    return `  ${name.padEnd(12)} ${percent(exactMatch.before)} -> ${percent(exactMatch.after)} of ${lines} lines completed as they stand; ${bpb.before.toFixed(4)} -> ${bpb.after.toFixed(4)} bits per byte of them`;
  });
}

/** The end of a run in a few lines. */
export function reportText({ verdict, end, seconds, steps, layers, bytesPerSecond, peakMemoryMb }: Report): string {
  return [
    verdict.reason,
    comparisonLine("held out", verdict.heldOut),
    ...Object.entries(verdict.byLanguage).map(([language, comparison]) => comparisonLine(`  ${language}`, comparison)),
    comparisonLine("general", verdict.general),
    ...completionLines(verdict.completions),
    `  95 % interval of the difference ${verdict.interval.map((value) => value.toFixed(4)).join(" to ")}`,
    `${steps} steps of the last ${layers} layers in ${seconds.toFixed(0)} s (${Math.round(bytesPerSecond)} bytes/s; ended by ${end}); at most ${peakMemoryMb} MB`,
    "",
  ].join("\n");
}
