/** The points of the plot, as its library takes them. */
import type { Curve } from "../../server/finetune-protocol";

/** Steps, with a loss, a held-out score, or both at each. */
export function dataOf({ loss, heldOut }: Curve): [number[], (number | null)[], (number | null)[]] {
  const [losses, scores] = [new Map(loss), new Map(heldOut)];
  const steps = [...new Set([...losses.keys(), ...scores.keys()])].sort((a, b) => a - b);
  return [steps, steps.map((step) => losses.get(step) ?? null), steps.map((step) => scores.get(step) ?? null)];
}
