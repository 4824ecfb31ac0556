/** A download's progress as a line for the user. */
import type { DownloadProgress } from "./download-model";

/** Shortest time between two lines, ms, unless something else is being done. */
const INTERVAL_MS = 200;
/** Time over which the speed is measured, ms. */
const WINDOW_MS = 5000;

/** Reads states as they come, with the time in ms; a line when it is worth showing, else null. */
export function progressLine(): (state: DownloadProgress, now: number) => string | null {
  const seen: { now: number; bytes: number }[] = [];
  let last = { now: Number.NEGATIVE_INFINITY, doing: "" };
  return ({ bytes, total, doing }, now) => {
    // What was on the disk before was not downloaded now.
    if (seen.length > 0 && bytes < seen[seen.length - 1].bytes) seen.length = 0;
    seen.push({ now, bytes });
    while (now - seen[0].now > WINDOW_MS) seen.shift();
    if (now - last.now < INTERVAL_MS && doing === last.doing) return null;
    last = { now, doing };
    if (total === 0) return doing;
    const seconds = (now - seen[0].now) / 1000;
    const speed = seconds < 0.5 ? "" : `, ${((bytes - seen[0].bytes) / 1e6 / seconds).toFixed(1)} MB/s`;
    return `${amount(bytes)} of ${amount(total)}${speed}: ${doing}`;
  };
}

function amount(bytes: number): string {
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(2)} GB`;
}
