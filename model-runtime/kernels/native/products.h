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

/* The 4-bit weights of a block, of the outputs of one vector. */
INLINE void unpack(Bytes numbers[FOURS], const uint8_t *weights, int vector) {
  UNROLL for (int i = 0; i < FOURS / 2; i++) {
    const Bytes pair = loadBytes(weights + 64 * i + 4 * LANES * vector);
    numbers[i] = lowHalves(pair);
    numbers[i + FOURS / 2] = highHalves(pair);
  }
}

INLINE void multiplyTile(const uint8_t *x, int xBytes, const uint8_t *weights, float *out, int outBytes, int blocks,
                         int vector, const int rows) {
  Floats sums[MOST_ROWS];
  UNROLL for (int row = 0; row < rows; row++) sums[row] = splat(0);
  for (int block = 0; block < blocks; block++, weights += BLOCK_BYTES) {
    if (vector == 0)
      for (int line = 0; line < BLOCK_BYTES; line += 64) __builtin_prefetch(weights + AHEAD + line);
    Bytes numbers[FOURS];
    unpack(numbers, weights, vector);
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

/*
 * ---- Activations in blocks times 8-bit rows, of whose results the largest are to be exact ----
 *
 * A weight is 16 times its upper half (-8 to 7, stored 8 larger) and its lower one (0 to 15). Each kind of halves lies as numbers of 4 bits
 * do, [O / 16, B], without scales: an output has one. The upper halves alone tell about how large a result is, for half of the memory.
 */

/* Rows of `estimate` and `refine` at most. */
enum { MOST_READ_OUT = 32 };

/* Results with 7.5 instead of each lower half, which adds as much to all sums of a row: `middles`. */
INLINE void estimateTile(const uint8_t *x, int xBytes, const uint8_t *upper, Floats scales, const float *middles, float *out, int outBytes,
                         int blocks, int vector, const int rows) {
  Floats sums[MOST_ROWS];
  UNROLL for (int row = 0; row < rows; row++) sums[row] = splat(middles[row]);
  for (int block = 0; block < blocks; block++, upper += BLOCK_NUMBERS) {
    if (vector == 0)
      for (int line = 0; line < BLOCK_NUMBERS; line += 64) __builtin_prefetch(upper + AHEAD + line);
    Bytes numbers[FOURS];
    unpack(numbers, upper, vector);
    UNROLL for (int row = 0; row < rows; row++) {
      const ActivationBlock *const a = (const ActivationBlock *)(x + (intptr_t)row * xBytes) + block;
      sums[row] += toFloats(dotBlock(splatInt(a->offset), numbers, (const int32_t *)a->numbers)) * splat(a->scale);
      NEXT_ROW();
    }
  }
  UNROLL for (int row = 0; row < rows; row++) store(rowOf(out, row, outBytes) + LANES * vector, sums[row] * scales);
}

/* Rows of blocks times weights -> estimates of out [R, O]: a part is so many `groups` of 16 outputs. */
JOB(estimate) {
  typedef struct {
    int32_t x, xBytes, rows, upper, scales, out, outBytes, blocks, groups, allGroups;
  } Arguments;
  const Arguments *const job = (const Arguments *)values;
  const int end = atMost((first + count) * job->groups, job->allGroups);
  float middles[MOST_READ_OUT];
  for (int row = 0; row < job->rows; row++) {
    const ActivationBlock *const a = (const ActivationBlock *)(AT(job->x) + (intptr_t)row * job->xBytes);
    middles[row] = 0;
    /* `offset` is -8 times the sum of a block's activations. */
    for (int block = 0; block < job->blocks; block++) middles[row] += (float)a[block].offset * a[block].scale * (-7.5f / 8 / 16);
  }
  for (int group = first * job->groups; group < end; group++) {
    const uint8_t *const upper = AT(job->upper) + (intptr_t)group * job->blocks * BLOCK_NUMBERS;
    float *const out = FLOATS(job->out) + TOGETHER * group;
    UNROLL for (int vector = 0; vector < VECTORS; vector++) {
      const Floats scales = load(FLOATS(job->scales) + TOGETHER * group + LANES * vector) * splat(16);
#define RUN(row, rows)                                                                                  \
  estimateTile(AT(job->x) + (intptr_t)(row) * job->xBytes, job->xBytes, upper, scales, middles + (row), \
               rowOf(out, row, job->outBytes), job->outBytes, job->blocks, vector, rows)
      TILES(job->rows, RUN);
#undef RUN
    }
  }
}

/* Largest of the first `width` values of rows, with room behind them up to a whole number of vectors, less `margin` -> limits [R]: a part is a row. */
JOB(limit) {
  typedef struct {
    int32_t x, xBytes, width;
    float margin;
    int32_t limits;
  } Arguments;
  const Arguments *const job = (const Arguments *)values;
  for (int row = first; row < first + count; row++) {
    float *const x = rowOf(AT(job->x), row, job->xBytes);
    fillRow(x, job->width);
    Floats largest = load(x);
    for (int i = 0; i < job->width; i += LANES) largest = larger(load(x + i), largest);
    FLOATS(job->limits)[row] = largestOf(largest) - job->margin;
  }
}

/* Sum over a block, by both halves. */
INLINE Ints dotHalves(const uint8_t *upper, const uint8_t *lower, const ActivationBlock *a, int vector) {
#if defined(HAS_MIXED_DOT)
  /* Put together they are weights that are 128 larger. */
  Ints even = splatInt(16 * a->offset), odd = splatInt(0);
  const int32_t *const activations = (const int32_t *)a->numbers;
  UNROLL for (int i = 0; i < FOURS / 2; i++) {
    const Bytes most = loadBytes(upper + 64 * i + 4 * LANES * vector), least = loadBytes(lower + 64 * i + 4 * LANES * vector);
    even = dotMixed(even, joinLowHalves(most, least), splatBytes(activations[i]));
    odd = dotMixed(odd, joinHighHalves(most, least), splatBytes(activations[i + FOURS / 2]));
  }
  return even + odd;
#else
  Bytes numbers[FOURS];
  unpack(numbers, upper, vector);
  const Ints sum = dotBlock(splatInt(a->offset), numbers, (const int32_t *)a->numbers) << 4;
  unpack(numbers, lower, vector);
  return dotBlock(sum, numbers, (const int32_t *)a->numbers);
#endif
}

/* The results of 16 outputs. */
INLINE void multiplyHalves(const uint8_t *x, const uint8_t *upper, const uint8_t *lower, const float *scales, float *out, int blocks) {
  UNROLL for (int vector = 0; vector < VECTORS; vector++) {
    Floats sum = splat(0);
    for (int block = 0; block < blocks; block++) {
      const ActivationBlock *const a = (const ActivationBlock *)x + block;
      const intptr_t at = (intptr_t)block * BLOCK_NUMBERS;
      sum += toFloats(dotHalves(upper + at, lower + at, a, vector)) * splat(a->scale);
    }
    store(out + LANES * vector, sum * load(scales + LANES * vector));
  }
}

/* Makes estimates exact, 16 outputs of a row at a time, where one of them is above the row's limit: a part is so many `groups`. */
JOB(refine) {
  typedef struct {
    int32_t x, xBytes, rows, upper, lower, scales, out, outBytes, blocks, groups, allGroups, limits;
  } Arguments;
  const Arguments *const job = (const Arguments *)values;
  const int end = atMost((first + count) * job->groups, job->allGroups);
  const int groupBytes = job->blocks * BLOCK_NUMBERS;
  /* Groups lie here and there: each is asked for while the one before it is made. */
  uint32_t waiting = 0; /* a bit a row */
  int last = 0;
  for (int group = first * job->groups; group <= end; group++) {
    uint32_t wanted = 0;
    for (int row = 0; row < job->rows && group < end; row++) {
      const float *const out = rowOf(AT(job->out), row, job->outBytes) + TOGETHER * group;
      Ints isAbove = splatInt(0);
      for (int i = 0; i < TOGETHER; i += LANES) isAbove |= load(out + i) > splat(FLOATS(job->limits)[row]);
      wanted |= (uint32_t)isSome(isAbove) << row;
    }
    if (wanted == 0 && group < end) continue;
    const uint8_t *const upper = AT(job->upper) + (intptr_t)group * groupBytes, *const lower = AT(job->lower) + (intptr_t)group * groupBytes;
    for (int line = 0; line < groupBytes && wanted != 0; line += 64) {
      __builtin_prefetch(upper + line);
      __builtin_prefetch(lower + line);
    }
    for (int row = 0; waiting != 0; row++, waiting >>= 1)
      if (waiting & 1)
        multiplyHalves(AT(job->x) + (intptr_t)row * job->xBytes, AT(job->upper) + (intptr_t)last * groupBytes,
                       AT(job->lower) + (intptr_t)last * groupBytes, FLOATS(job->scales) + TOGETHER * last,
                       rowOf(AT(job->out), row, job->outBytes) + TOGETHER * last, job->blocks);
    waiting = wanted;
    last = group;
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
