/** What the explorer exports as tables: CSV with a row a byte, JSON with all that was shown. Pure. */
import type { ByteText } from "./byte-text";
import type { Parameters, Segmentation } from "./segmentations";

export interface Exported {
  name: string;
  model: string;
  content: ByteText;
  entropies: Float32Array;
  /** With the workspace's counts; null where these are not shown. */
  mixed: Float32Array | null;
  parameters: Parameters;
  segmentations: readonly Segmentation[];
}

/** RFC 4180; a column of each segmentation says whether one of its segments starts at the byte (1) or not (0). */
export function csvOf({ content, entropies, mixed, segmentations }: Exported): string {
  const known = segmentations.filter(({ starts }) => starts !== null);
  const columns = mixed === null ? ["entropy_nats"] : ["entropy_nats", "mixed_entropy_nats"];
  const rows = [["offset", "byte", "text", ...columns, ...known.map(({ id }) => `${id}_start`)]];
  const values = mixed === null ? [entropies] : [entropies, mixed];
  const next = known.map(() => 0);
  content.bytes.forEach((byte, at) => {
    const flags = known.map(({ starts }, i) => {
      const isStart = starts![next[i]] === at;
      if (isStart) next[i]++;
      return isStart ? "1" : "0";
    });
    const shown = byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : "";
    rows.push([String(at), String(byte), quoted(shown), ...values.map((each) => digits(each[at])), ...flags]);
  });
  return `${rows.map((row) => row.join(",")).join("\r\n")}\r\n`;
}

export function jsonOf({ name, model, content, entropies, mixed, parameters, segmentations }: Exported): string {
  const cuts = segmentations
    .filter(({ starts }) => starts !== null)
    .map(({ id, starts }) => [
      id,
      { count: starts!.length, bytesEach: content.bytes.length / starts!.length, starts: [...starts!] },
    ]);
  return JSON.stringify({
    name,
    model,
    parameters,
    bytes: content.bytes.length,
    text: content.text,
    entropies: rounded(entropies),
    ...(mixed === null ? {} : { mixedEntropies: rounded(mixed) }),
    segmentations: Object.fromEntries(cuts),
  });
}

function rounded(values: Float32Array): number[] {
  return Array.from(values, (value) => Number(value.toPrecision(6)));
}

function quoted(text: string): string {
  return /[",\s]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function digits(value: number): string {
  return Number.isNaN(value) ? "" : String(Number(value.toPrecision(6)));
}
