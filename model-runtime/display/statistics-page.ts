/**
 * Statistics as a page: the body is the same in the report of `blt report` and in the editor; what differs is where links
 * lead. Everything that comes from files is escaped.
 */
import { byLanguage, type FileStatistics, type Group, type Statistics } from "../statistics/collect";
import { entropyLevel } from "./colours";
import { type Bar, histogramFigure } from "./histogram";
import { byteCount, escapeHtml, grouped } from "./html";

export interface PageOptions {
  /** What was measured: a file's or folder's name. */
  title: string;
  /** Name of the model. */
  model: string;
  /** Files that were passed over, and why. */
  skipped: readonly { path: string; reason: string }[];
  /** Address of a file, and of a line in it (zero-based); null for no link. */
  link: (path: string, line: number | null) => string | null;
  /** A sentence above the figures, when there is something to say; else null. */
  notice: string | null;
}

export function statisticsBody(statistics: Statistics, options: PageOptions): string {
  const { files, lines } = statistics;
  return `<header><p class="eyebrow">BLT Code · statistics</p><h1>${escapeHtml(options.title)}</h1>
<p class="lead">How the model ${escapeHtml(options.model)} reads ${files.length === 1 ? "this file" : `these ${grouped(files.length)} files`}: how surprising the text is to it, byte by byte, and where it cuts it.</p>
${options.notice === null ? "" : `<p class="notice" role="status">${escapeHtml(options.notice)}</p>`}</header>
<main>${tiles(statistics)}
<section class="pair" aria-label="Histograms">${histogramFigure(entropyHistogram(statistics))}${histogramFigure(lengthHistogram(statistics))}</section>
${files.length > 1 ? `<section><h2 id="languages">By language</h2>${languageTable(files, statistics.lengths.units)}</section>` : ""}
<section><h2 id="files">By file</h2>${fileTable(files, statistics.lengths.units, options)}</section>
${lines.length > 0 ? `<section><h2>Most surprising lines</h2><p>Lines that cost the most bits above the mean of their file. Each character has the colour of its own surprise.</p>${lineTable(statistics, options)}</section>` : ""}
${skippedList(options.skipped)}</main>`;
}

function tiles({ files, lengths }: Statistics): string {
  const sum = (of: (file: FileStatistics) => number) => files.reduce((total, file) => total + of(file), 0);
  const bytes = sum((file) => file.bytes);
  const entries: [string, string, string][] = [
    [
      (sum((file) => file.bits) / bytes).toFixed(3),
      "bits per byte",
      "lower: the model finds the text more predictable",
    ],
    [(bytes / sum((file) => file.patches)).toFixed(2), `bytes a ${single(lengths.units)}`, ""],
    [grouped(sum((file) => file.patches)), lengths.units, ""],
    [byteCount(bytes), files.length === 1 ? "in the file" : `in ${grouped(files.length)} files`, ""],
  ];
  const items = entries.map(
    ([value, name, hint]) =>
      `<div${hint === "" ? "" : ` title="${escapeHtml(hint)}"`}><dd>${escapeHtml(value)}</dd><dt>${escapeHtml(name)}</dt></div>`,
  );
  return `<dl class="tiles">${items.join("")}</dl>`;
}

function entropyHistogram({ entropy: { counts, width, of } }: Statistics) {
  const bars = counts.map((count, i): Bar => {
    const [from, to] = [i * width, (i + 1) * width];
    const range = i + 1 < counts.length ? `${from} to ${to} nats` : `${from} nats and more`;
    return { tick: from % 1 === 0 ? String(from) : "", range, count, style: `e${entropyLevel(from + width / 2)}` };
  });
  return {
    title: "Bytes by entropy",
    axis: `Entropy before the byte, nats (${of === "patcher" ? "entropy model" : "whole model"})`,
    bars,
  };
}

function lengthHistogram({ lengths: { counts, units } }: Statistics) {
  const bars = counts.map((count, i): Bar => {
    const last = i + 1 === counts.length;
    const tick = (i + 1) % 4 === 0 || i === 0 ? `${i + 1}${last ? "+" : ""}` : "";
    return { tick, range: `${i + 1}${last ? " or more" : ""} ${i === 0 ? "byte" : "bytes"}`, count, style: "plain" };
  });
  return { title: `${units[0].toUpperCase()}${units.slice(1)} by length`, axis: "Length, bytes", bars };
}

type Column = { name: string; numeric: boolean };
type Cell = { html: string; sort: string | number };

function languageTable(files: readonly FileStatistics[], units: string): string {
  const row = (group: Group): Cell[] => [text(group.language), count(group.files), ...figures(group)];
  return sortableTable(
    [name("Language"), figure("Files"), ...figureColumns(units)],
    byLanguage(files).map(row),
    "By language",
  );
}

function fileTable(files: readonly FileStatistics[], units: string, { link }: PageOptions): string {
  const row = (file: FileStatistics): Cell[] => [
    { html: linked(file.path, link(file.path, null)), sort: file.path },
    text(file.language),
    ...figures(file),
  ];
  return sortableTable([name("File"), name("Language"), ...figureColumns(units)], files.map(row), "By file");
}

function figureColumns(units: string): Column[] {
  return [figure("Bytes"), figure("Bits per byte"), figure(`Bytes a ${single(units)}`)];
}

function figures({ bytes, bits, patches }: Pick<FileStatistics, "bytes" | "bits" | "patches">): Cell[] {
  const [bpb, length] = [bits / bytes, bytes / patches];
  return [count(bytes), { html: bpb.toFixed(3), sort: bpb }, { html: length.toFixed(2), sort: length }];
}

function lineTable({ lines }: Statistics, { link }: PageOptions): string {
  const row = ({ path, line, bytes, bits, text: shown, levels }: Statistics["lines"][number]): Cell[] => [
    { html: linked(`${path}:${line + 1}`, link(path, line)), sort: `${path}:${String(line).padStart(9, "0")}` },
    { html: bits.toFixed(0), sort: bits },
    { html: (bits / bytes).toFixed(2), sort: bits / bytes },
    { html: `<code>${shaded(shown, levels)}</code>`, sort: shown },
  ];
  const columns = [name("Place"), figure("Bits"), figure("Bits per byte"), name("Line")];
  return sortableTable(columns, lines.map(row), "Most surprising lines");
}

/** A text with runs of characters in the colour of their level. */
function shaded(text: string, levels: string): string {
  let html = "";
  for (let from = 0, to = 0; from < text.length; from = to) {
    while (to < text.length && levels[to] === levels[from]) to++;
    const run = escapeHtml(text.slice(from, to));
    html += levels[from] === "0" ? run : `<span class="e${levels[from]}">${run}</span>`;
  }
  return html;
}

/** A table whose headers are buttons; `sortScript` makes them sort. */
function sortableTable(columns: readonly Column[], rows: readonly Cell[][], caption: string): string {
  const head = columns.map(
    ({ name: title, numeric }) =>
      `<th scope="col"${numeric ? ' class="number"' : ""}><button type="button">${escapeHtml(title)}</button></th>`,
  );
  const cell = ({ html, sort }: Cell, i: number) =>
    `<td${columns[i].numeric ? ' class="number"' : ""} data-sort="${escapeHtml(String(sort))}">${html}</td>`;
  const body = rows.map((row) => `<tr>${row.map(cell).join("")}</tr>`);
  return `<div class="scroll" tabindex="0" role="region" aria-label="${escapeHtml(caption)}"><table class="sortable"><caption>${escapeHtml(caption)}; a heading sorts the rows.</caption><thead><tr>${head.join("")}</tr></thead><tbody>${body.join("")}</tbody></table></div>`;
}

function skippedList(skipped: PageOptions["skipped"]): string {
  if (skipped.length === 0) return "";
  const items = skipped.map(({ path, reason }) => `<li>${escapeHtml(path)} (${escapeHtml(reason)})</li>`);
  return `<details><summary>${grouped(skipped.length)} ${skipped.length === 1 ? "file was" : "files were"} passed over</summary><ul>${items.join("")}</ul></details>`;
}

function name(title: string): Column {
  return { name: title, numeric: false };
}

function figure(title: string): Column {
  return { name: title, numeric: true };
}

function text(value: string): Cell {
  return { html: escapeHtml(value), sort: value };
}

function count(value: number): Cell {
  return { html: grouped(value), sort: value };
}

function single(units: string): string {
  return units === "pieces" ? "piece" : "patch";
}

function linked(label: string, address: string | null): string {
  const html = escapeHtml(label);
  return address === null ? html : `<a href="${escapeHtml(address)}">${html}</a>`;
}

/** Makes the headings of tables sort their rows: a plain script, because it runs in pages without modules. */
export const sortScript = `
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => heading.firstElementChild.addEventListener("click", () => {
    const descends = heading.getAttribute("aria-sort") !== "descending" && heading.classList.contains("number")
      || heading.getAttribute("aria-sort") === "ascending";
    for (const other of headings) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", descends ? "descending" : "ascending");
    const key = (row) => row.cells[column].dataset.sort;
    const compare = heading.classList.contains("number")
      ? (a, b) => Number(key(a)) - Number(key(b))
      : (a, b) => key(a).localeCompare(key(b), undefined, { numeric: true });
    const rows = [...table.tBodies[0].rows].sort((a, b) => (descends ? -1 : 1) * compare(a, b));
    table.tBodies[0].append(...rows);
  }));
}
`;
