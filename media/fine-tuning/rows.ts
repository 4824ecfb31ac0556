/** What the page of fine-tuning says, as texts: figures, buttons, the table of gains. */
import { duration } from "../../model-runtime/display/duration";
import type { Comparison, Pair } from "../../model-runtime/training/verdict";
import type { ControlParams, RunState, RunSummary } from "../../server/finetune-protocol";

export type Button = ControlParams["action"] | "start" | "adapters";

/** The buttons that can be of use. */
export function buttonsFor(state: RunState): Button[] {
  switch (state.kind) {
    case "running":
      return [
        state.pausedBy === null ? "pause" : "resume",
        // Before the first step there is nothing to judge.
        ...(state.phase === "training" && state.progress !== null ? (["finish"] as const) : []),
        "cancel",
      ];
    case "unfinished":
      return ["resume", "cancel"];
    default:
      return ["start", "adapters"];
  }
}

/** Name and value of each figure at the top. */
export function figuresOf(state: RunState): [string, string][] {
  if (state.kind === "running" && state.progress !== null) {
    const { step, epoch, loss, heldOutBpb, startBpb, secondsLeft } = state.progress;
    return [
      ["Step", `${step}`],
      ["Time through the text", `${epoch}`],
      ["Loss", loss.toFixed(3)],
      ["Held out, bits per byte", heldOutBpb.toFixed(4)],
      ["At first", startBpb.toFixed(4)],
      ["Training left", duration(secondsLeft)],
    ];
  }
  if (state.kind === "done") {
    const { steps, seconds, peakMemoryMb } = state.summary;
    return [
      ["Steps", `${steps}`],
      ["Time", duration(seconds)],
      ["Memory at most", `${(peakMemoryMb / 1000).toFixed(2)} GB`],
    ];
  }
  return [];
}

export const gainsHead = ["", "Bits per byte before", "after", "Lines right before", "after"];

/** Completed lines below which their shares say nothing: one line more or less is more than any gain. */
const LEAST_LINES = 16;

/** The rows of the table of gains. */
export function gainsOf({ heldOut, general, byLanguage, completions }: RunSummary): string[][] {
  const languages = Object.entries(byLanguage);
  return [
    row("Held-out files", heldOut.bpb, heldOut.exactMatch),
    ...(languages.length > 1 ? languages.map(([name, comparison]) => compared(name, comparison)) : []),
    compared("General code", general),
    ...(completions === null || completions.plain.lines < LEAST_LINES
      ? []
      : [
          row(`${completions.plain.lines} lines, completed`, completions.plain.bpb, completions.plain.exactMatch),
          row("The same, with counts of the workspace", completions.mixed.bpb, completions.mixed.exactMatch),
        ]),
  ];
}

function compared(name: string, { bpb, exactMatch }: Comparison): string[] {
  return row(name, bpb, exactMatch);
}

function row(name: string, bpb: Pair, exactMatch: Pair): string[] {
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
  return [name, bpb.before.toFixed(3), bpb.after.toFixed(3), percent(exactMatch.before), percent(exactMatch.after)];
}
