/** How a run goes, in a line: for the page, the notification and the status bar. */
import { duration } from "../../model-runtime/display/duration";
import type { RunningState, RunState } from "../../server/finetune-protocol";

const phases: Record<RunningState["phase"], string> = {
  reading: "Reading the files",
  scoring: "Measuring the model as it is",
  loading: "Making ready to learn",
  training: "Learning",
  judging: "Measuring what was learned",
};

export function aboutRun(state: RunState): string {
  switch (state.kind) {
    case "none":
      return "Nothing is being learned.";
    case "unfinished":
      return `A run on ${state.folder} was cut off after step ${state.step}; it can go on.`;
    case "done":
      return state.summary.adapter === null
        ? "Done; what was learned was discarded."
        : "Done; suggestions use what was learned.";
    case "failed":
      return "Fine-tuning has failed.";
    case "running":
      return aboutRunning(state);
  }
}

/** `Learning: step 32, loss 1.36, held out 0.925 (0.954 at first), 2 min of training left`. */
export function aboutRunning({ phase, fraction, pausedBy, progress }: RunningState): string {
  const pause =
    pausedBy === null ? "" : pausedBy === "battery" ? "Paused, as the machine runs on battery. " : "Paused. ";
  if (phase !== "training" || progress === null) {
    const percent = phase === "scoring" || phase === "judging" ? ` (${Math.round(100 * fraction)} %)` : "";
    return `${pause}${phases[phase]}${percent}…`;
  }
  const { step, loss, heldOutBpb, startBpb, secondsLeft } = progress;
  return `${pause}${phases[phase]}: step ${step}, loss ${loss.toFixed(2)}, held out ${heldOutBpb.toFixed(3)} bits per byte (${startBpb.toFixed(3)} at first), ${duration(secondsLeft)} of training left.`;
}
