/** Entropy in nats of softmax(logits); impossible ids (-Infinity) add nothing. */
export function entropyOfLogits(logits: ArrayLike<number>): number {
  let max = Number.NEGATIVE_INFINITY;
  for (let id = 0; id < logits.length; id++) if (logits[id] > max) max = logits[id];
  let sum = 0;
  let weighted = 0;
  for (let id = 0; id < logits.length; id++) {
    const shifted = logits[id] - max;
    const weight = Math.exp(shifted);
    sum += weight;
    if (weight > 0) weighted += weight * shifted;
  }
  return Math.log(sum) - weighted / sum;
}
