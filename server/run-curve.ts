/** The points of a run's plot, so few that they can be sent and drawn again and again. */
import type { Curve } from "./finetune-protocol";

const MOST_POINTS = 400;

export class RunCurve {
  private sums: { steps: number; loss: number; count: number }[] = [];
  /** Steps that one point stands for. */
  private width = 1;
  private readonly heldOut: [number, number][] = [];

  addLoss(step: number, loss: number): void {
    const last = this.sums.at(-1);
    if (last !== undefined && last.count < this.width) {
      last.steps += step;
      last.loss += loss;
      last.count++;
    } else this.sums.push({ steps: step, loss, count: 1 });
    if (this.sums.length > MOST_POINTS) this.halve();
  }

  addHeldOut(step: number, bpb: number): void {
    this.heldOut.push([step, bpb]);
  }

  get points(): Curve {
    const loss = this.sums.map(({ steps, loss, count }): [number, number] => [Math.round(steps / count), loss / count]);
    return { loss, heldOut: [...this.heldOut] };
  }

  private halve(): void {
    const merged: typeof this.sums = [];
    for (let i = 0; i < this.sums.length; i += 2) {
      const [a, b = { steps: 0, loss: 0, count: 0 }] = this.sums.slice(i, i + 2);
      merged.push({ steps: a.steps + b.steps, loss: a.loss + b.loss, count: a.count + b.count });
    }
    this.sums = merged;
    this.width *= 2;
  }
}
