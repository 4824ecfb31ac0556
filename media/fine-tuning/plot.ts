/** The plot of a run: loss of the steps and held-out bits per byte over steps, each with an axis of its own. */
import uPlot from "uplot";
import type { Curve } from "../../server/finetune-protocol";
import { dataOf } from "./data";

const HEIGHT = 260;

export class RunPlot {
  private plot: uPlot | null = null;
  private curve: Curve = { loss: [], heldOut: [] };

  constructor(private readonly root: HTMLElement) {
    new ResizeObserver(() => {
      const width = root.clientWidth;
      if (width > 0 && width !== this.plot?.width) this.plot?.setSize({ width, height: HEIGHT });
    }).observe(root);
  }

  show(curve: Curve): void {
    this.curve = curve;
    if (this.plot === null) this.build();
    else this.plot.setData(dataOf(curve));
  }

  /** Takes over other colours, as the theme has changed. */
  recolour(): void {
    if (this.plot !== null) this.build();
  }

  private build(): void {
    this.plot?.destroy();
    const style = getComputedStyle(document.body);
    const colour = (name: string) => style.getPropertyValue(name).trim();
    const axis = (name: string, scale: string): uPlot.Axis => ({
      scale,
      label: name,
      labelSize: 18,
      labelFont: `11px ${style.fontFamily}`,
      font: `11px ${style.fontFamily}`,
      stroke: colour("--muted"),
      grid: { stroke: colour("--grid"), width: 1, show: scale !== "bpb" },
      ticks: { stroke: colour("--grid"), width: 1 },
    });
    const heldOut = style.getPropertyValue("--vscode-charts-orange").trim() || "#d18616";
    this.plot = new uPlot(
      {
        width: Math.max(200, this.root.clientWidth),
        height: HEIGHT,
        scales: { x: { time: false }, loss: {}, bpb: {} },
        axes: [axis("step", "x"), axis("nats", "loss"), { ...axis("bits per byte", "bpb"), side: 1 }],
        series: [
          { label: "Step" },
          { label: "Loss", scale: "loss", stroke: colour("--accent"), width: 1, value: (_, value) => figure(value) },
          {
            label: "Held out",
            scale: "bpb",
            stroke: heldOut,
            width: 2,
            spanGaps: true,
            points: { show: true, size: 6, fill: heldOut },
            value: (_, value) => figure(value),
          },
        ],
      },
      dataOf(this.curve),
      this.root,
    );
  }
}

function figure(value: number | null): string {
  return value === null ? "–" : value.toFixed(4);
}
