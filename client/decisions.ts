/** What came of each request, as lines for the user. */
import type { Decision } from "../server/protocol";

/** One request for a suggestion, sent or not. `line` and `character` are zero-based, `time` is ms since 1970. */
export interface Moment {
  uri: string;
  line: number;
  character: number;
  time: number;
  /** From request to answer, ms; 0 when it was not sent. */
  ms: number;
  sentence: string;
  shown: boolean;
}

export interface MomentLine {
  label: string;
  description: string;
  detail: string;
  moment: Moment;
}

/**
 * The server's decisions and the requests not sent, as one list, newest first. What came of several requests one after
 * the other in a line, as it does while the user types on, is one entry.
 *
 * @param decisions newest first
 */
export function mergeMoments(decisions: readonly Decision[], skipped: readonly Moment[]): Moment[] {
  const decided = decisions.map(({ uri, line, character, time, ms, sentence, reason, quote }) => ({
    uri,
    line,
    character,
    time,
    ms,
    sentence: quote === undefined ? sentence : `${sentence} It stands word for word in ${quote.path}:${quote.line}.`,
    shown: reason === "shown" || reason === "shownFromCache",
  }));
  return withoutRepeats([...decided, ...skipped].sort((a, b) => b.time - a.time));
}

/** Lines of a quick pick. `nameOf` shortens a document's address. */
export function momentLines(moments: readonly Moment[], now: number, nameOf: (uri: string) => string): MomentLine[] {
  return moments.map((moment) => ({
    // Code in a sentence may look like the name of an icon.
    label: `$(${moment.shown ? "check" : "circle-slash"}) ${moment.sentence.replaceAll("$(", "\\$(")}`,
    description: moment.ms >= 1 ? `${Math.round(moment.ms)} ms` : "",
    detail: `${nameOf(moment.uri)}:${moment.line + 1}:${moment.character + 1}, ${ago(now - moment.time)}`,
    moment,
  }));
}

/** Of moments in a row with the same sentence in the same line, the newest, with their number in its sentence. */
function withoutRepeats(moments: readonly Moment[]): Moment[] {
  const runs: Moment[][] = [];
  for (const moment of moments) {
    const run = runs.at(-1);
    if (run !== undefined && isRepeat(run[0], moment)) run.push(moment);
    else runs.push([moment]);
  }
  return runs.map(([newest, ...others]) =>
    others.length === 0 ? newest : { ...newest, sentence: `${newest.sentence} (${others.length + 1} times)` },
  );
}

function isRepeat(a: Moment, b: Moment): boolean {
  return a.sentence === b.sentence && a.uri === b.uri && a.line === b.line;
}

function ago(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds} s ago`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min ago` : `${Math.round(minutes / 60)} h ago`;
}
