/**
 * The panes: the same text side by side, each cut by one segmentation. They scroll together, and only the lines in view are
 * in the page, so that the length of a text does not matter.
 */
import type { ByteText, Cell } from "./byte-text";
import { lastAtMost } from "./byte-text";
import { meanLength, names, type Segmentation, type SegmentationId } from "./segmentations";

/** Height of a line, pixels; that of the style sheet. */
const LINE = 19;
const BEYOND = 12;
const COLOURS = 4;

export interface Selection {
  /** Bytes `from` to `to`. */
  from: number;
  to: number;
}

interface Pane {
  id: SegmentationId;
  root: HTMLElement;
  count: HTMLElement;
  body: HTMLElement;
  rows: HTMLElement;
  segmentation: Segmentation;
  /** Of the lines that are drawn. */
  drawn: { from: number; to: number } | null;
}

export class Panes {
  private readonly panes = new Map<SegmentationId, Pane>();
  private content: ByteText | null = null;
  private selection: Selection = { from: 0, to: 0 };
  private scrolling = false;

  /** @param onSelect a segment was chosen; `name` is what it is called, for those who do not see it */
  constructor(
    private readonly root: HTMLElement,
    private readonly onSelect: (selection: Selection, name: string) => void,
    private readonly onChooseTokenizer: () => void,
  ) {}

  show(content: ByteText, segmentations: readonly Segmentation[]): void {
    const isOther = this.content !== content;
    this.content = content;
    for (const [id, pane] of this.panes)
      if (!segmentations.some((each) => each.id === id)) {
        pane.root.remove();
        this.panes.delete(id);
      }
    for (const segmentation of segmentations) {
      const pane = this.panes.get(segmentation.id) ?? this.create(segmentation);
      if (
        isOther ||
        pane.segmentation.starts !== segmentation.starts ||
        pane.segmentation.problem !== segmentation.problem
      )
        pane.drawn = null;
      pane.segmentation = segmentation;
      this.describe(pane);
      pane.rows.style.height = `${content.lineCount * LINE}px`;
    }
    this.arrange(segmentations.map(({ id }) => this.panes.get(id)!));
    this.draw();
  }

  /** Puts panes in this order. What stands right stays: a move lays out the page anew and scrolls to the top. */
  private arrange(panes: readonly Pane[]): void {
    if (panes.every(({ root }, i) => this.root.children[i] === root)) return;
    const top = Math.max(0, ...panes.map(({ body }) => body.scrollTop));
    this.root.append(...panes.map(({ root }) => root));
    for (const { body } of panes) body.scrollTop = top;
  }

  select(selection: Selection, options: { scroll: boolean }): void {
    this.selection = selection;
    for (const pane of this.panes.values()) pane.drawn = null;
    if (options.scroll && this.content !== null) this.reveal(this.content.lineOf(selection.from));
    this.draw();
  }

  /** Draws what is in view and not drawn yet. */
  draw(): void {
    for (const pane of this.panes.values()) this.drawPane(pane);
  }

  private create(segmentation: Segmentation): Pane {
    const { id } = segmentation;
    const root = element("section", "pane");
    const heading = element("h2", "", names[id].name);
    heading.id = `pane-${id}`;
    const count = element("p", "count");
    const head = element("div", "head");
    head.append(heading, count);
    const body = element("div", "body");
    body.tabIndex = 0;
    body.setAttribute("role", "group");
    body.setAttribute("aria-labelledby", heading.id);
    body.setAttribute("aria-description", "Arrow keys go from segment to segment.");
    const rows = element("div", "rows");
    body.append(rows);
    root.append(head, body);
    root.dataset.id = id;
    const pane: Pane = { id, root, count, body, rows, segmentation, drawn: null };
    body.addEventListener("scroll", () => this.scrolled(pane), { passive: true });
    body.addEventListener("click", (event) => this.clicked(pane, event));
    body.addEventListener("keydown", (event) => this.pressed(pane, event));
    new ResizeObserver(() => this.drawPane(pane)).observe(body);
    this.panes.set(id, pane);
    this.root.append(root);
    return pane;
  }

  private describe({ id, count, segmentation, body }: Pane): void {
    const { starts, problem } = segmentation;
    const { unit } = names[id];
    body.hidden = starts === null;
    if (starts === null) {
      count.replaceChildren(problem ?? "Being computed…");
      if (id === "llama3") {
        const button = element("button", "", "Choose tokenizer.json…") as HTMLButtonElement;
        button.addEventListener("click", this.onChooseTokenizer);
        count.append(" ", button);
      }
      return;
    }
    const units = unit === "patch" ? "patches" : `${unit}s`;
    count.replaceChildren(
      element("strong", "", starts.length.toLocaleString("en")),
      ` ${starts.length === 1 ? unit : units} · `,
      element("strong", "", meanLength(segmentation).toFixed(2)),
      ` bytes each`,
    );
  }

  private scrolled(from: Pane): void {
    if (this.scrolling) return;
    this.scrolling = true;
    for (const pane of this.panes.values()) {
      if (pane === from) continue;
      pane.body.scrollTop = from.body.scrollTop;
      pane.body.scrollLeft = from.body.scrollLeft;
    }
    requestAnimationFrame(() => {
      this.scrolling = false;
      this.draw();
    });
  }

  private reveal(line: number): void {
    for (const { body } of this.panes.values()) {
      const top = line * LINE;
      if (top >= body.scrollTop + LINE && top + 2 * LINE <= body.scrollTop + body.clientHeight) continue;
      body.scrollTop = Math.max(0, top - body.clientHeight / 3);
    }
  }

  private drawPane(pane: Pane): void {
    const { body, rows, segmentation } = pane;
    const content = this.content;
    if (content === null || segmentation.starts === null || body.clientHeight === 0) return;
    const first = Math.floor(body.scrollTop / LINE);
    const seen = { from: first, to: Math.min(content.lineCount, first + Math.ceil(body.clientHeight / LINE) + 1) };
    if (pane.drawn !== null && pane.drawn.from <= seen.from && pane.drawn.to >= seen.to) return;
    const drawn = { from: Math.max(0, seen.from - BEYOND), to: Math.min(content.lineCount, seen.to + BEYOND) };
    pane.drawn = drawn;
    const fragment = document.createDocumentFragment();
    for (let line = drawn.from; line < drawn.to; line++) {
      const row = element("div", "row");
      row.style.top = `${line * LINE}px`;
      for (const cell of content.cells(line, segmentation.starts)) row.append(this.cell(cell, segmentation.starts));
      fragment.append(row);
    }
    rows.replaceChildren(fragment);
  }

  private cell({ text, segment, isStart, isHex, at }: Cell, starts: Uint32Array): HTMLElement {
    const { from, to } = this.selection;
    const end = segment + 1 < starts.length ? starts[segment + 1] : this.content!.bytes.length;
    const isSelected = to > from && starts[segment] < to && end > from;
    const names = [`p${segment % COLOURS}`, isStart ? "start" : "", isHex ? "hex" : "", isSelected ? "selected" : ""];
    const span = element("span", names.filter(Boolean).join(" "), text);
    span.dataset.segment = String(segment);
    span.dataset.at = String(at);
    return span;
  }

  private clicked(pane: Pane, event: MouseEvent): void {
    const { segment } = (event.target as HTMLElement).dataset;
    if (segment !== undefined) this.choose(pane, Number(segment));
  }

  private pressed(pane: Pane, event: KeyboardEvent): void {
    const { starts } = pane.segmentation;
    const steps: Record<string, number> = { ArrowRight: 1, ArrowLeft: -1 };
    const step = steps[event.key];
    if (step === undefined || starts === null || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const { from, to } = this.selection;
    const current = to > from ? lastAtMost(starts, from) : step > 0 ? -1 : starts.length;
    this.choose(pane, Math.max(0, Math.min(starts.length - 1, current + step)));
  }

  private choose({ id, segmentation }: Pane, segment: number): void {
    const starts = segmentation.starts!;
    const [from, to] = [
      starts[segment],
      segment + 1 < starts.length ? starts[segment + 1] : this.content!.bytes.length,
    ];
    const { unit } = names[id];
    const bytes = to - from === 1 ? "1 byte" : `${to - from} bytes`;
    const name = `${unit} ${segment + 1} of ${starts.length}, ${bytes}: ${this.content!.shown(from, to)}`;
    this.select({ from, to }, { scroll: true });
    this.onSelect({ from, to }, name);
  }
}

export function element(tag: string, className = "", text?: string): HTMLElement {
  const created = document.createElement(tag);
  if (className !== "") created.className = className;
  if (text !== undefined) created.textContent = text;
  return created;
}
