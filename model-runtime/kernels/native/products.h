/*
 * Rows times weights: 4-bit blocks, 8-bit rows, float32.
 *
 * Weights lie in groups of 16 outputs, whose vectors have a lane for each output, so that sums need no adding up of lanes, and any
 * number of rows meets a weight while it is in a register.
 *
 * Letters: R rows, I inputs, O outputs, B = I / 32 blocks.
 */
#ifndef BLT_PRODUCTS_H
#define BLT_PRODUCTS_H

#include "vectors.h"

/* Numbers of 4-bit weights in a block, by eight: without a sign. */
enum { FOURS = 8 };

/*
 * Dot-product instructions of x86 take one factor without a sign: where both have one, one of them is made 128 larger, and what that
 * adds is taken off.
 */
#if defined(HAS_MIXED_DOT)
enum { SHIFT = 128 };
#else
enum { SHIFT = 0 };
#endif

/* Sum over a block: weights (0 to 15) times activations (-127 to 127), plus `sum`. */
INLINE Ints dotBlock(Ints sum, const Bytes weights[FOURS], const int32_t *activations) {
#if defined(HAS_MIXED_DOT)
  Ints even = sum, odd = splatInt(0);
  UNROLL for (int i = 0; i < FOURS; i += 2) {
    even = dotMixed(even, weights[i], splatBytes(activations[i]));
    odd = dotMixed(odd, weights[i + 1], splatBytes(activations[i + 1]));
  }
  return even + odd;
#elif defined(HAS_PAIRS)
  /* Eight sums of two products of 15 and 127 are below 2 ** 15. */
  Bytes pairs = pairsOf(weights[0], splatBytes(activations[0]));
  UNROLL for (int i = 1; i < FOURS; i++) pairs = addPairs(pairs, pairsOf(weights[i], splatBytes(activations[i])));
  return sum + sumPairs(pairs);
#else
  UNROLL for (int i = 0; i < FOURS; i++) sum = dotSigned(sum, weights[i], splatBytes(activations[i]));
  return sum;
#endif
}

/* 8-bit weights (-127 to 127) times four activations of each row, which are stored SHIFT larger. */
INLINE Ints dotInts(Ints sum, Bytes weights, int32_t activations) {
#if defined(HAS_MIXED_DOT)
  return dotMixed(sum, splatBytes(activations), weights);
#else
  return dotSigned(sum, weights, splatBytes(activations));
#endif
}

/* The same where it is the weights that are made SHIFT larger, on their way, and activations are stored as they are. */
INLINE Ints dotWeights(Ints sum, Bytes weights, int32_t activations) {
#if defined(HAS_MIXED_DOT)
  return dotMixed(sum, flipSigns(weights), splatBytes(activations));
#else
  return dotSigned(sum, weights, splatBytes(activations));
#endif
}

/* Rows that meet the same weights in registers at a time. */
#if defined(__AVX512BW__)
enum { MOST_ROWS = 16 };
#elif defined(__AVX2__)
enum { MOST_ROWS = 4 };
#else
enum { MOST_ROWS = 12 };
#endif

/* Runs `run(row, rows)`, whose second argument is a constant, for all of `count` rows in as few tiles as there can be. */
#define TILE(size, run) for (; count - row >= (size); row += (size)) run(row, size)
#define TILES(all, run)                 \
  do {                                  \
    const int count = all;              \
    int row = 0;                        \
    if (MOST_ROWS >= 16) TILE(16, run); \
    if (MOST_ROWS >= 12) TILE(12, run); \
    if (MOST_ROWS >= 8) TILE(8, run);   \
    TILE(4, run);                       \
    TILE(3, run);                       \
    TILE(2, run);                       \
    TILE(1, run);                       \
  } while (0)

/* ---- 4-bit blocks ---- */

/* A block of 32 activations: whole numbers, their scale, and what the weights' zero point takes off. */
typedef struct {
  int8_t numbers[32];
  float scale;
  int32_t offset;
} ActivationBlock;

/*
 * Weights [O / 16, B]: in each of four vectors of 16 lanes, bytes hold inputs 4 i to 4 i + 3 in their lower halves and the inputs 16
 * behind them in their upper halves; then the scales of 16 outputs, float16.
 */
enum { BLOCK_NUMBERS = 256, BLOCK_BYTES = BLOCK_NUMBERS + 2 * TOGETHER };
/* How far ahead of its use a weight is asked for: the processor's own reading ahead ends at a page. */
enum { AHEAD = 10 * BLOCK_BYTES };

INLINE void multiplyTile(const uint8_t *x, int xBytes, const uint8_t *weights, float *out, int outBytes, int blocks,
                         int vector, const int rows) {
  Floats sums[MOST_ROWS];
  UNROLL for (int row = 0; row < rows; row++) sums[row] = splat(0);
  for (int block = 0; block < blocks; block++, weights += BLOCK_BYTES) {
    if (vector == 0)
      for (int line = 0; line < BLOCK_BYTES; line += 64) __builtin_prefetch(weights + AHEAD + line);
    Bytes numbers[FOURS];
    UNROLL for (int i = 0; i < FOURS / 2; i++) {
      const Bytes pair = loadBytes(weights + 64 * i + 4 * LANES * vector);
      numbers[i] = lowHalves(pair);
      numbers[i + FOURS / 2] = highHalves(pair);
    }
    const Floats scales = loadHalves(weights + BLOCK_NUMBERS + 2 * LANES * vector);
    UNROLL for (int row = 0; row < rows; row++) {
      const ActivationBlock *const a = (const ActivationBlock *)(x + (intptr_t)row * xBytes) + block;
      const Ints sum = dotBlock(splatInt(a->offset), numbers, (const int32_t *)a->numbers);
      sums[row] += toFloats(sum) * (scales * splat(a->scale));
      NEXT_ROW();
    }
  }
  UNROLL for (int row = 0; row < rows; row++) store(rowOf(out, row, outBytes) + LANES * vector, sums[row]);
}

/* Rows of blocks times weights in blocks -> out [R, O]: a part is so many `groups` of 16 outputs. */
JOB(multiplyBlocks) {
  typedef struct {
    int32_t x, xBytes, rows, weights, out, outBytes, blocks, groups, allGroups;
  } Arguments;
  const Arguments *const job = (const Arguments *)values;
  const int end = atMost((first + count) * job->groups, job->allGroups);
  for (int group = first * job->groups; group < end; group++) {
    const uint8_t *const weights = AT(job->weights) + (intptr_t)group * job->blocks * BLOCK_BYTES;
    float *const out = FLOATS(job->out) + TOGETHER * group;
    UNROLL for (int vector = 0; vector < VECTORS; vector++) {
#define RUN(row, rows)                                                           \
  multiplyTile(AT(job->x) + (intptr_t)(row) * job->xBytes, job->xBytes, weights, \
               rowOf(out, row, job->outBytes), job->outBytes, job->blocks, vector, rows)
      TILES(job->rows, RUN);
#undef RUN
    }
  }
}

/* ---- 8-bit rows ---- */

INLINE void multiplyIntsTile(const uint8_t *x, int xBytes, const float *largest, const uint8_t *weights, Ints start, Floats scales,
                             float *out, int outBytes, int inputs, int vector, const int rows) {
  Ints sums[MOST_ROWS];
  UNROLL for (int row = 0; row < rows; row++) sums[row] = start;
  weights += 4 * LANES * vector;
  for (int input = 0; input < inputs; input += 4, weights += 4 * TOGETHER) {
    __builtin_prefetch(weights + 2048);
    const Bytes four = loadBytes(weights);
    UNROLL for (int row = 0; row < rows; row++)
      sums[row] = dotInts(sums[row], four, *(const int32_t *)(x + (intptr_t)row * xBytes + input));
  }
  UNROLL for (int row = 0; row < rows; row++)
    store(rowOf(out, row, outBytes) + LANES * vector, toFloats(sums[row]) * scales * splat(largest[row]));
}

/*
 * Rows of whole numbers [R, I], as `roundRows` gives them, times weights [O / 16, I / 4, 16, 4] -> out [R, O] = sum * scale * largest:
 * a part is so many `groups` of 16 outputs. `sums` [O] are those of the weights.
 */
JOB(multiplyIntegers) {
  typedef struct {
    int32_t x, xBytes, largest, rows, weights, sums, scales, out, outBytes, inputs, groups, allGroups;
  } Arguments;
  const Arguments *const job = (const Arguments *)values;
  const int end = atMost((first + count) * job->groups, job->allGroups);
  for (int group = first * job->groups; group < end; group++) {
    const uint8_t *const weights = AT(job->weights) + (intptr_t)group * job->inputs * TOGETHER;
    float *const out = FLOATS(job->out) + TOGETHER * group;
    UNROLL for (int vector = 0; vector < VECTORS; vector++) {
      const int column = TOGETHER * group + LANES * vector;
      const Ints start = *(const Ints *)(AT(job->sums) + 4 * column) * splatInt(-SHIFT);
      const Floats scales = load(FLOATS(job->scales) + column);
#define RUN(row, rows)                                                                                                    \
  multiplyIntsTile(AT(job->x) + (intptr_t)(row) * job->xBytes, job->xBytes, FLOATS(job->largest) + (row), weights, start, \
                   scales, rowOf(out, row, job->outBytes), job->outBytes, job->inputs, vector, rows)
      TILES(job->rows, RUN);
#undef RUN
    }
  }
}

/* ---- Activations in blocks times 8-bit rows ---- */

INLINE void multiplyMixedTile(const uint8_t *x, int xBytes, const uint8_t *weights, Floats scales, float *out, int outBytes, int blocks,
                              int vector, const int rows) {
  Floats sums[MOST_ROWS];
  UNROLL for (int row = 0; row < rows; row++) sums[row] = splat(0);
  weights += 4 * LANES * vector;
  for (int block = 0; block < blocks; block++) {
    Ints inBlock[MOST_ROWS];
    UNROLL for (int row = 0; row < rows; row++) inBlock[row] = splatInt(0);
    for (int four = 0; four < FOURS; four++, weights += 4 * TOGETHER) {
      __builtin_prefetch(weights + 2048);
      const Bytes each = loadBytes(weights);
      UNROLL for (int row = 0; row < rows; row++) {
        const ActivationBlock *const a = (const ActivationBlock *)(x + (intptr_t)row * xBytes) + block;
        inBlock[row] = dotWeights(inBlock[row], each, ((const int32_t *)a->numbers)[four]);
      }
    }
    UNROLL for (int row = 0; row < rows; row++) {
      const ActivationBlock *const a = (const ActivationBlock *)(x + (intptr_t)row * xBytes) + block;
      /* What the shift of weights adds: SHIFT times the sum of activations, which is -8 times as large in `offset`. */
      sums[row] += toFloats(inBlock[row] + splatInt(a->offset * (SHIFT / 8))) * splat(a->scale);
    }
  }
  UNROLL for (int row = 0; row < rows; row++)
    store(rowOf(out, row, outBytes) + LANES * vector, sums[row] * scales);
}

/*
 * Rows of blocks times 8-bit weights [O / 16, I / 4, 16, 4] of a scale for each output -> out [R, O]: a part is so many `groups` of 16
 * outputs.
 */
JOB(multiplyMixed) {
  typedef struct {
    int32_t x, xBytes, rows, weights, scales, out, outBytes, blocks, groups, allGroups;
  } Arguments;
  const Arguments *const job = (const Arguments *)values;
  const int end = atMost((first + count) * job->groups, job->allGroups);
  for (int group = first * job->groups; group < end; group++) {
    const uint8_t *const weights = AT(job->weights) + (intptr_t)group * job->blocks * 32 * TOGETHER;
    float *const out = FLOATS(job->out) + TOGETHER * group;
    for (int vector = 0; vector < VECTORS; vector++) {
      const Floats scales = load(FLOATS(job->scales) + TOGETHER * group + LANES * vector);
#define RUN(row, rows)                                                                        \
  multiplyMixedTile(AT(job->x) + (intptr_t)(row) * job->xBytes, job->xBytes, weights, scales, \
                    rowOf(out, row, job->outBytes), job->outBytes, job->blocks, vector, rows)
      TILES(job->rows, RUN);
#undef RUN
    }
  }
}

/* ---- Floats ---- */

INLINE void multiplyFloatsTile(const uint8_t *x, int xBytes, const float *weights, float *out, int outBytes, int inputs,
                               int isAdded, int vector, const int rows) {
  Floats sums[MOST_ROWS];
  UNROLL for (int row = 0; row < rows; row++) sums[row] = splat(0);
  weights += LANES * vector;
  for (int input = 0; input < inputs; input++, weights += TOGETHER) {
    const Floats each = load(weights);
    UNROLL for (int row = 0; row < rows; row++)
      sums[row] += splat(rowOf(x, row, xBytes)[input]) * each;
  }
  UNROLL for (int row = 0; row < rows; row++) {
    float *const to = rowOf(out, row, outBytes) + LANES * vector;
    if (isAdded) sums[row] += load(to);
    store(to, sums[row]);
  }
}

/* Rows [R, I] times weights [O / 16, I, 16] -> out [R, O], or added to it: a part is a group of 16 outputs. */
JOB(multiplyFloats) {
  typedef struct {
    int32_t x, xBytes, rows, weights, out, outBytes, inputs, isAdded;
  } Arguments;
  const Arguments *const job = (const Arguments *)values;
  for (int group = first; group < first + count; group++)
    UNROLL for (int vector = 0; vector < VECTORS; vector++) {
#define RUN(row, rows)                                                                          \
  multiplyFloatsTile(AT(job->x) + (intptr_t)(row) * job->xBytes, job->xBytes,                   \
                     FLOATS(job->weights) + (intptr_t)group * job->inputs * TOGETHER,           \
                     rowOf(AT(job->out), row, job->outBytes) + TOGETHER * group, job->outBytes, \
                     job->inputs, job->isAdded, vector, rows)
      TILES(job->rows, RUN);
#undef RUN
    }
}

#endif
