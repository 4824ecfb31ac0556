/** The explorer's page: keeps what is shown, and joins controls, plot, panes and the extension. */
import "uplot/dist/uPlot.min.css";
import "../page.css";
import "./explorer.css";
import { byteCount } from "../../model-runtime/display/html";
import type { Reading, Tokenized } from "../../server/overlay-protocol";
import { ByteText } from "./byte-text";
import type { ExportFormat, FromPage, ToPage } from "./messages";
import { element, Panes } from "./panes";
import { type Colours, svgOf } from "./picture";
import { Plot } from "./plot";
import { rasterized } from "./rasterize";
import {
  comparedWithThreshold,
  cut,
  float32,
  names,
  type Parameters,
  parametersOf,
  type Segmentation,
  type SegmentationId,
  uint32,
} from "./segmentations";
import { csvOf, jsonOf } from "./tables";

declare function acquireVsCodeApi(): {
  postMessage(message: FromPage): void;
  getState(): unknown;
  setState(state: unknown): void;
};

const vscode = acquireVsCodeApi();
const $ = <E extends HTMLElement = HTMLElement>(id: string) => document.getElementById(id) as E;

interface Shown {
  name: string;
  reading: Reading;
  content: ByteText;
  entropies: Float32Array;
  /** The same with the workspace's counts; null where these are not shown. */
  mixed: Float32Array | null;
  /** What is plotted and compared with the threshold. */
  compared: Float32Array;
  parameters: Parameters;
}

let shown: Shown | null = null;
/** What the tokenizers said of the text that is shown. */
let tokens: readonly Tokenized[] = [];
let cuts = new Map<SegmentationId, Segmentation>();
/** What the cuts that depend on no entropy were made from. */
let cutFrom: { content: ByteText; patchSize: number } | null = null;
const cutTokens = new Map<SegmentationId, Tokenized>();
const order: SegmentationId[] = ["entropy", "pieces", "space", "static", "cl100k", "o200k", "llama3", "byte"];
/** What the page was left as. */
const state = (vscode.getState() as { visible: SegmentationId[]; isMixed: boolean } | undefined) ?? {
  visible: ["entropy", "space", "cl100k", "o200k"],
  isMixed: false,
};
let visible = new Set<SegmentationId>(state.visible);
/** Whether the parameters were changed here, so that an edit of the text keeps them. */
let hasOwnParameters = false;

const panes = new Panes(
  $("panes"),
  (selection, name) => select(selection.from, selection.to, name),
  () => vscode.postMessage({ type: "chooseTokenizer" }),
);
const plot = new Plot($("plot"), {
  onThreshold: (threshold) => change({ threshold }),
  onByte: (at) => selectPatchAt(at),
  nameOf: (at) => shown?.content.shown(at, nextCharacter(at)) ?? "",
});

window.addEventListener("message", ({ data }: MessageEvent<ToPage>) => {
  switch (data.type) {
    case "reading":
      return showReading(data);
    case "tokens":
      tokens = data.tokens;
      return recut();
    case "selection": {
      if (shown === null) return;
      const [from, to] = [shown.content.byteOf(data.from), shown.content.byteOf(data.to)];
      const end = to > from ? to : nextCharacter(from);
      panes.select({ from, to: end }, { scroll: true });
      return plot.select(from, end);
    }
    case "problem":
      shown = null;
      $("main").hidden = true;
      $("name").textContent = data.name;
      $("about").textContent = "";
      $("problem").hidden = false;
      $("problem").textContent = data.sentence;
  }
});

function showReading({ name, reading, limit }: Extract<ToPage, { type: "reading" }>): void {
  const isSameText = shown?.content.text === reading.text && shown.reading.model === reading.model;
  const content = isSameText ? shown!.content : new ByteText(reading.text);
  const entropies = float32(reading.entropies);
  const parameters = hasOwnParameters && shown !== null ? shown.parameters : parametersOf(reading.patching);
  shown = {
    name,
    reading,
    content,
    entropies,
    mixed: reading.mixed === null ? null : float32(reading.mixed),
    parameters,
    compared: comparedWithThreshold(entropies, parameters.monotonic),
  };
  // More of the same text keeps what was said of it.
  if (!isSameText) tokens = [];
  $("problem").hidden = true;
  $("main").hidden = false;
  $("name").textContent = name;
  const rest =
    reading.wholeBytes > content.bytes.length
      ? `; the first ${byteCount(content.bytes.length)} are shown (the limit is ${byteCount(limit)})`
      : "";
  const { mixed } = shown;
  const last = knownOf(mixed ?? entropies);
  const progress = reading.isComplete ? "" : ` · reading, ${Math.floor((100 * last.count) / content.bytes.length)} %`;
  const withCounts = mixed === null ? "" : `, ${last.mean.toFixed(3)} with the workspace`;
  const none = mixed === null && mixedBox.checked ? " · the workspace is not counted (setting blt.workspace)" : "";
  $("about").textContent =
    `${byteCount(reading.wholeBytes)}${rest}${progress} · mean entropy ${knownOf(entropies).mean.toFixed(3)} nats${withCounts} · model ${reading.model}${none}`;
  fillControls();
  recut();
  plot.show(shown.compared, parameters.threshold, mixed);
}

function knownOf(values: Float32Array): { count: number; mean: number } {
  const known = values.filter((each) => !Number.isNaN(each));
  return { count: known.length, mean: known.reduce((sum, each) => sum + each, 0) / Math.max(1, known.length) };
}

function change(parameters: Partial<Parameters>): void {
  if (shown === null) return;
  hasOwnParameters = true;
  const before = shown.parameters;
  shown.parameters = { ...before, ...parameters };
  if (shown.parameters.monotonic !== before.monotonic)
    shown.compared = comparedWithThreshold(shown.entropies, shown.parameters.monotonic);
  fillControls();
  plot.show(shown.compared, shown.parameters.threshold, shown.mixed);
  recut();
}

/** Cuts the text anew by all that depends on parameters, and shows it. */
function recut(): void {
  if (shown === null) return;
  const { content, entropies, reading, parameters } = shown;
  const whole = content.bytes.length;
  const own = (id: "entropy" | "space" | "static" | "byte"): Segmentation => {
    const known = cuts.get(id);
    // A moved threshold moves entropy patches only, so that the other panes stay as they are drawn.
    const isSame = id !== "entropy" && cutFrom?.content === content && cutFrom.patchSize === parameters.patchSize;
    if (known !== undefined && isSame) return known;
    const starts = cut(id, content.bytes, entropies, reading.patching, parameters);
    const isPart = id === "entropy" && !reading.isComplete;
    const cutBytes = isPart ? Math.min(knownOf(entropies).count, whole) : whole;
    return { id, name: names[id].name, starts, cutBytes, problem: null };
  };
  const ofTokens = (id: Tokenized["id"]): Segmentation => {
    const known = cuts.get(id);
    const found = tokens.find((each) => each.id === id);
    if (found === undefined) {
      cutTokens.delete(id);
      return { id, name: names[id].name, starts: null, cutBytes: 0, problem: id === "llama3" ? llamaSentence : null };
    }
    if (known !== undefined && cutTokens.get(id) === found) return known;
    cutTokens.set(id, found);
    const starts = found.starts === null ? null : uint32(found.starts);
    return { id, name: names[id].name, starts, cutBytes: whole, problem: found.problem };
  };
  const all: Segmentation[] = [
    own("entropy"),
    own("space"),
    own("static"),
    ofTokens("cl100k"),
    ofTokens("o200k"),
    ofTokens("llama3"),
    own("byte"),
  ];
  if (reading.pieces !== null) {
    const known = cutFrom?.content === content ? cuts.get("pieces") : undefined;
    const starts = uint32(reading.pieces);
    all.push(known ?? { id: "pieces", name: names.pieces.name, starts, cutBytes: whole, problem: null });
  }
  cutFrom = { content, patchSize: parameters.patchSize };
  cuts = new Map(order.flatMap((id) => all.filter((each) => each.id === id)).map((each) => [each.id, each]));
  fillChoice();
  panes.show(content, shownSegmentations());
}

const llamaSentence =
  "Its vocabulary may not be passed on under a free licence. If you have Llama 3's tokenizer.json, choose it here.";

function shownSegmentations(): Segmentation[] {
  return [...cuts.values()].filter(({ id }) => visible.has(id));
}

function selectPatchAt(at: number): void {
  const starts = cuts.get("entropy")?.starts;
  if (!starts || shown === null) return;
  let segment = 0;
  while (segment + 1 < starts.length && starts[segment + 1] <= at) segment++;
  const [from, to] = [starts[segment], segment + 1 < starts.length ? starts[segment + 1] : shown.content.bytes.length];
  panes.select({ from, to }, { scroll: true });
  select(from, to, `Patch ${segment + 1} of ${starts.length}, ${to - from} bytes: ${shown.content.shown(from, to)}`);
}

/** Selects bytes in the plot and in the editor, and says so. */
function select(from: number, to: number, name: string): void {
  if (shown === null) return;
  plot.select(from, to);
  const { content, entropies } = shown;
  $("live").textContent = `${name}. Entropy before it ${entropies[from]?.toFixed(3)} nats.`;
  vscode.postMessage({ type: "select", from: content.placeOf(from), to: content.placeOf(to) });
}

function nextCharacter(at: number): number {
  const bytes = shown?.content.bytes ?? new Uint8Array();
  let end = Math.min(at + 1, bytes.length);
  while (end < bytes.length && (bytes[end] & 0xc0) === 0x80) end++;
  return end;
}

const controls = $<HTMLFormElement>("controls");

function field(name: keyof Parameters): HTMLInputElement {
  return controls.elements.namedItem(name) as HTMLInputElement;
}

function fillControls(): void {
  const { parameters } = shown!;
  for (const name of ["threshold", "maxPatchLength", "minPatchLength", "patchSize"] as const) {
    const value = parameters[name];
    const text = value === null ? "" : String(Number(value.toFixed(3)));
    if (document.activeElement !== field(name)) field(name).value = text;
  }
  field("monotonic").checked = parameters.monotonic;
}

controls.addEventListener("submit", (event) => event.preventDefault());
controls.addEventListener("input", (event) => {
  const input = event.target as HTMLInputElement;
  const isValid = input.checkValidity();
  input.setAttribute("aria-invalid", String(!isValid));
  if (!isValid || shown === null) return;
  const name = input.name as keyof Parameters;
  if (name === "monotonic") return change({ monotonic: input.checked });
  const value = input.value === "" ? null : Number(input.value);
  const { minPatchLength, maxPatchLength }: Parameters = { ...shown.parameters, ...{ [name]: value } };
  // Each pulls the other one along, as a longest patch below the shortest is none.
  if (maxPatchLength !== null && minPatchLength > maxPatchLength)
    return change({ minPatchLength: Number(value), maxPatchLength: Number(value) });
  change({ [name]: value });
});
$("reset").addEventListener("click", () => {
  if (shown === null) return;
  change(parametersOf(shown.reading.patching));
  hasOwnParameters = false;
});

function fillChoice(): void {
  const choice = $("choice");
  for (const { id, name } of cuts.values()) {
    if (choice.querySelector(`[value="${id}"]`) !== null) continue;
    const label = element("label") as HTMLLabelElement;
    const box = element("input") as HTMLInputElement;
    box.type = "checkbox";
    box.value = id;
    box.checked = visible.has(id);
    label.append(box, ` ${name}`);
    choice.append(label);
  }
}
$("choice").addEventListener("change", () => {
  const boxes = [...$("choice").querySelectorAll<HTMLInputElement>("input")];
  visible = new Set(boxes.filter(({ checked }) => checked).map(({ value }) => value as SegmentationId));
  keepState();
  if (shown !== null) panes.show(shown.content, shownSegmentations());
});

const mixedBox = $<HTMLInputElement>("mixed");
mixedBox.checked = state.isMixed;
mixedBox.addEventListener("input", (event) => {
  // It cuts nothing anew, as the other controls do.
  event.stopPropagation();
  keepState();
  vscode.postMessage({ type: "mix", isMixed: mixedBox.checked });
});

function keepState(): void {
  vscode.setState({ visible: [...visible], isMixed: mixedBox.checked });
}

for (const button of document.querySelectorAll<HTMLButtonElement>("[data-export]"))
  button.addEventListener("click", () => void exportAs(button.dataset.export as ExportFormat));

async function exportAs(format: ExportFormat): Promise<void> {
  if (shown === null) return;
  const { name, reading, content, entropies, mixed, compared, parameters } = shown;
  const segmentations = format === "csv" || format === "json" ? [...cuts.values()] : shownSegmentations();
  const common = { name, model: reading.model, content, segmentations };
  const picture = () => svgOf({ ...common, plotted: compared, threshold: parameters.threshold, colours: colours() });
  const data = {
    csv: async () => csvOf({ ...common, entropies, mixed, parameters }),
    json: async () => jsonOf({ ...common, entropies, mixed, parameters }),
    svg: async () => picture(),
    png: () => rasterized(picture()),
  };
  vscode.postMessage({ type: "export", format, data: await data[format]() });
}

function colours(): Colours {
  const style = getComputedStyle(document.body);
  const of = (variable: string) => style.getPropertyValue(variable).trim();
  return {
    ground: of("--ground"),
    text: of("--text"),
    muted: of("--muted"),
    rule: of("--rule"),
    accent: of("--accent"),
    boundary: of("--boundary"),
    patches: [1, 2, 3, 4].map((i) => of(`--vscode-blt-patch${i}Background`)),
  };
}

// VS Code changes the body's class with the theme.
new MutationObserver(() => plot.recolour()).observe(document.body, { attributes: true, attributeFilter: ["class"] });
vscode.postMessage({ type: "ready", isMixed: mixedBox.checked });
