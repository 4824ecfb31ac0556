/** The plot of entropy over position, with the threshold as a line that is dragged or moved by keys. */
import uPlot from "uplot";

export interface PlotOptions {
  onThreshold(threshold: number): void;
  /** A byte was clicked. */
  onByte(at: number): void;
  /** How a byte is called in the legend. */
  nameOf(at: number): string;
}

const HEIGHT = 170;
/** Nats that an arrow key moves the threshold; with Page up and down ten times as much. */
const STEP = 0.02;

export class Plot {
  private plot: uPlot | null = null;
  private readonly handle: HTMLElement;
  private threshold = 0;
  private values: Float32Array = new Float32Array(0);
  private mixed: Float32Array | null = null;
  private selection = { from: 0, to: 0 };
  private most = 6;
  private least = 0;

  constructor(
    private readonly root: HTMLElement,
    private readonly options: PlotOptions,
  ) {
    this.handle = document.createElement("div");
    this.handle.className = "threshold";
    this.handle.tabIndex = 0;
    this.handle.setAttribute("role", "slider");
    this.handle.setAttribute("aria-label", "Threshold, nats");
    this.handle.setAttribute("aria-orientation", "vertical");
    this.handle.addEventListener("pointerdown", (event) => this.drag(event));
    this.handle.addEventListener("keydown", (event) => this.pressed(event));
    new ResizeObserver(() => this.resize()).observe(root);
  }

  /**
   * @param values [n] what is compared with the threshold, at each byte
   * @param mixed [n] entropies with the workspace's counts, as a second line; null for none
   */
  show(values: Float32Array, threshold: number, mixed: Float32Array | null): void {
    const isSame = this.values === values && this.mixed === mixed && this.plot !== null;
    this.values = values;
    this.mixed = mixed;
    this.threshold = threshold;
    if (!isSame) this.build();
    this.place();
  }

  /** Marks bytes; draws the marks anew. */
  select(from: number, to: number): void {
    this.selection = { from, to };
    this.plot?.redraw(false);
  }

  /** Takes over other colours, as the theme has changed. */
  recolour(): void {
    if (this.values.length > 0) this.build();
    this.place();
  }

  private build(): void {
    this.plot?.destroy();
    let [least, most] = [0, 1];
    for (const value of this.values) {
      if (value < least) least = value;
      if (value > most) most = value;
    }
    [this.least, this.most] = [least < 0 ? least * 1.05 : 0, Math.max(most, this.threshold) * 1.08];
    const style = getComputedStyle(document.body);
    const colour = (name: string) => style.getPropertyValue(name).trim();
    const axis: uPlot.Axis = {
      stroke: colour("--muted"),
      grid: { stroke: colour("--grid"), width: 1 },
      ticks: { stroke: colour("--grid"), width: 1 },
      font: `11px ${style.fontFamily}`,
    };
    const { nameOf } = this.options;
    const shared: uPlot.Series = {
      width: 1,
      paths: uPlot.paths.stepped?.({ align: 1 }),
      points: { show: false },
      value: (_, value) => (value === null ? "–" : `${value.toFixed(3)} nats (${(value / Math.LN2).toFixed(3)} bits)`),
    };
    const { values, mixed } = this;
    const numbers = (row: Float32Array) => Array.from(row, (value) => (Number.isNaN(value) ? null : value));
    this.plot = new uPlot(
      {
        width: Math.max(200, this.root.clientWidth),
        height: HEIGHT,
        scales: { x: { time: false }, y: { range: [this.least, this.most] } },
        axes: [
          { ...axis, size: 30, values: (_, ticks) => ticks.map((tick) => tick.toLocaleString("en")) },
          { ...axis, label: "nats", labelSize: 18, labelFont: axis.font, size: 42 },
        ],
        series: [
          { label: "Byte", value: (_, at) => (at === null ? "–" : `${at.toLocaleString("en")} ${nameOf(at)}`) },
          { ...shared, label: "Entropy", stroke: colour("--accent"), fill: colour("--accent-soft") },
          ...(mixed === null ? [] : [{ ...shared, label: "With the workspace", stroke: colour("--mixed") }]),
        ],
        cursor: { drag: { x: true, y: false }, points: { size: 6 } },
        hooks: {
          drawClear: [(plot) => this.drawSelection(plot, colour("--selected"))],
          setScale: [() => this.place()],
          ready: [
            (plot) => {
              plot.over.append(this.handle);
              plot.over.addEventListener("click", () => this.clicked(plot));
            },
          ],
        },
      },
      [Array.from(values, (_, at) => at), numbers(values), ...(mixed === null ? [] : [numbers(mixed)])],
      this.root,
    );
  }

  private drawSelection(plot: uPlot, colour: string): void {
    const { from, to } = this.selection;
    if (to <= from) return;
    const [left, right] = [plot.valToPos(from, "x", true), plot.valToPos(to, "x", true)];
    const [start, end] = [Math.max(left, plot.bbox.left), Math.min(right, plot.bbox.left + plot.bbox.width)];
    if (end <= start) return;
    plot.ctx.fillStyle = colour;
    plot.ctx.fillRect(start, plot.bbox.top, Math.max(2, end - start), plot.bbox.height);
  }

  private clicked(plot: uPlot): void {
    const { idx } = plot.cursor;
    if (idx !== null && idx !== undefined && plot.select.width === 0) this.options.onByte(idx);
  }

  private place(): void {
    if (this.plot === null) return;
    this.handle.style.top = `${this.plot.valToPos(this.threshold, "y")}px`;
    this.handle.setAttribute("aria-valuemin", this.least.toFixed(2));
    this.handle.setAttribute("aria-valuemax", this.most.toFixed(2));
    this.handle.setAttribute("aria-valuenow", this.threshold.toFixed(3));
    this.handle.setAttribute("aria-valuetext", `${this.threshold.toFixed(3)} nats`);
    this.handle.dataset.label = `${this.threshold.toFixed(3)} nats`;
  }

  private drag(event: PointerEvent): void {
    const plot = this.plot;
    if (plot === null) return;
    event.preventDefault();
    // Not the plot's own dragging, which zooms.
    event.stopPropagation();
    this.handle.focus();
    this.handle.setPointerCapture(event.pointerId);
    const top = plot.over.getBoundingClientRect().top;
    const move = (next: PointerEvent) => this.set(plot.posToVal(next.clientY - top, "y"));
    const end = () => {
      this.handle.removeEventListener("pointermove", move);
      this.handle.removeEventListener("pointerup", end);
      this.handle.removeEventListener("pointercancel", end);
    };
    this.handle.addEventListener("pointermove", move);
    this.handle.addEventListener("pointerup", end);
    this.handle.addEventListener("pointercancel", end);
  }

  private pressed(event: KeyboardEvent): void {
    const steps: Record<string, number> = {
      ArrowUp: 1,
      ArrowRight: 1,
      ArrowDown: -1,
      ArrowLeft: -1,
      PageUp: 10,
      PageDown: -10,
    };
    const step = steps[event.key];
    if (step === undefined) return;
    event.preventDefault();
    this.set(this.threshold + step * STEP);
  }

  private set(threshold: number): void {
    this.threshold = Math.min(this.most, Math.max(this.least, threshold));
    this.place();
    this.options.onThreshold(this.threshold);
  }

  private resize(): void {
    const width = this.root.clientWidth;
    if (this.plot === null || width === 0 || width === this.plot.width) return;
    this.plot.setSize({ width, height: HEIGHT });
    this.place();
  }
}
