/*
 * Rows between products: a part is a row. Widths are multiples of 16.
 *
 * Letters: R rows, I inputs.
 */
#ifndef BLT_ROWS_H
#define BLT_ROWS_H

#include "attention.h"
#include "products.h"

/* RMSNorm: x / sqrt(mean of squares + epsilon) * weight. */
JOB(norm) {
  typedef struct {
    int32_t x, xBytes, weight, out, outBytes, width;
    float epsilon;
  } Arguments;
  const Arguments *const job = (const Arguments *)values;
  const float *const weight = FLOATS(job->weight);
  for (int row = first; row < first + count; row++) {
    const float *const x = rowOf(AT(job->x), row, job->xBytes);
    float *const out = rowOf(AT(job->out), row, job->outBytes);
    Floats sum = splat(0);
    for (int i = 0; i < job->width; i += LANES) sum += load(x + i) * load(x + i);
    const Floats factor = splat(1 / sqrtf(sumOf(sum) / (float)job->width + job->epsilon));
    for (int i = 0; i < job->width; i += LANES) store(out + i, load(x + i) * factor * load(weight + i));
  }
}

/* Gates [width] and the values behind them [width]: each gate becomes silu(gate) * value. */
JOB(swiGlu) {
  typedef struct {
    int32_t x, xBytes, width;
  } Arguments;
  const Arguments *const job = (const Arguments *)values;
  for (int row = first; row < first + count; row++) {
    float *const gates = rowOf(AT(job->x), row, job->xBytes);
    for (int i = 0; i < job->width; i += LANES) {
      const Floats gate = load(gates + i);
      store(gates + i, gate / (splat(1) + exponential(-gate)) * load(gates + job->width + i));
    }
  }
}

/* Adds y to x. */
JOB(add) {
  typedef struct {
    int32_t x, xBytes, y, yBytes, width;
  } Arguments;
  const Arguments *const job = (const Arguments *)values;
  for (int row = first; row < first + count; row++) {
    float *const x = rowOf(AT(job->x), row, job->xBytes);
    const float *const y = rowOf(AT(job->y), row, job->yBytes);
    for (int i = 0; i < job->width; i += LANES) store(x + i, load(x + i) + load(y + i));
  }
}

/* Rows [R, I] -> blocks of whole numbers (`ActivationBlock`), as in onnxruntime's MatMulNBits. */
JOB(roundBlocks) {
  typedef struct {
    int32_t x, xBytes, out, outBytes, inputs;
  } Arguments;
  const Arguments *const job = (const Arguments *)values;
  for (int row = first; row < first + count; row++) {
    const float *x = rowOf(AT(job->x), row, job->xBytes);
    ActivationBlock *out = (ActivationBlock *)(AT(job->out) + (intptr_t)row * job->outBytes);
    for (int input = 0; input < job->inputs; input += 32, x += 32, out++) {
      const float reach = reachOf(x, 32);
      /* Infinite for zeros and the smallest numbers, which would become the largest int32. */
      const float inverse = 127 / reach < 3.4028235e38f ? 127 / reach : 3.4028235e38f;
      Ints sum = splatInt(0);
      for (int i = 0; i < 32; i += LANES) {
        const Ints whole = nearest(load(x + i) * splat(inverse));
        sum += whole;
        storeBytes(out->numbers + i, whole);
      }
      /* Of any size where something is no number. */
      uint32_t total = 0;
      for (int lane = 0; lane < LANES; lane++) total += (uint32_t)sum[lane];
      out->scale = reach / 127;
      /* Numbers of weights stand for themselves less 8. */
      out->offset = (int32_t)(-8 * total);
    }
  }
}

/* Rows [R, I], divided by their largest magnitude [R] and by `step` -> whole numbers [R, I], SHIFT larger. */
JOB(roundRows) {
  typedef struct {
    int32_t x, xBytes, out, outBytes, largest, inputs;
    float step;
  } Arguments;
  const Arguments *const job = (const Arguments *)values;
  for (int row = first; row < first + count; row++) {
    const float *const x = rowOf(AT(job->x), row, job->xBytes);
    uint8_t *const out = AT(job->out) + (intptr_t)row * job->outBytes;
    const float reach = reachOf(x, job->inputs);
    FLOATS(job->largest)[row] = reach;
    /* A row of zeros stays one, and NaN goes on in `largest`. */
    const Floats divisor = splat(reach > 0 ? reach : 1), step = splat(job->step);
    for (int i = 0; i < job->inputs; i += LANES) {
      const Ints whole = nearest(load(x + i) / divisor / step) + splatInt(SHIFT);
      storeBytes(out + i, whole);
    }
  }
}

/* Rows of logits [width], with room up to a whole number of vectors, become the masses of their softmax: a part is a row. */
JOB(softmax) {
  typedef struct {
    int32_t x, xBytes, width;
  } Arguments;
  const Arguments *const job = (const Arguments *)values;
  const int filled = (job->width + TOGETHER - 1) / TOGETHER * TOGETHER;
  for (int row = first; row < first + count; row++) {
    float *const x = rowOf(AT(job->x), row, job->xBytes);
    fillRow(x, job->width);
    const Floats factor = splat(soften(x, filled, 1, NULL));
    for (int i = 0; i < filled; i += LANES) store(x + i, load(x + i) * factor);
  }
}

#endif
