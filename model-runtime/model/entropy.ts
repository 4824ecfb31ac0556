/** Entropy in nats of softmax(logits). */
export function entropyOfLogits(logits: Float32Array): number {
  let max = Number.NEGATIVE_INFINITY;
  for (const logit of logits) if (logit > max) max = logit;
  let sum = 0;
  let weighted = 0;
  for (const logit of logits) {
    const shifted = logit - max;
    const weight = Math.exp(shifted);
    sum += weight;
    weighted += weight * shifted;
  }
  return Math.log(sum) - weighted / sum;
}
