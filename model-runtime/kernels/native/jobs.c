/*
 * The jobs themselves. This file is compiled once for each kind of processor that it can be fast on, with JOBS_VARIANT as its name;
 * what differs is how wide a vector is, and how products of bytes are summed (`dot`).
 *
 * Weights lie in groups of 16 outputs, whose vectors have a lane for each output, so that sums need no adding up of lanes, and any
 * number of rows meets a weight while it is in a register. Results of a row do not depend on the rows that it is run with.
 *
 * Letters: R rows, I inputs, O outputs, B = I / 32 blocks, D head width, S slots for positions.
 */
#include "jobs.h"

#include <math.h>
#include <string.h>

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#else
#include <arm_neon.h>
#endif

/* Outputs of a group, positions of a tile of keys, columns of a strip of values. */
enum { TOGETHER = 16 };

#if defined(__AVX512VNNI__)
enum { LANES = 16 };
#elif defined(__AVX2__)
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif
enum { VECTORS = TOGETHER / LANES };

/* Before loops over what is to be in registers. Without "full", versions of Clang up to 16 leave some in memory. */
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* Between rows that need most registers: Clang would mix their instructions until there are too few. */
#if defined(__clang__) && defined(__AVX512VNNI__)
#define NEXT_ROW() __asm__ __volatile__("" ::: "memory")
#else
#define NEXT_ROW() (void)0
#endif

#define INLINE static inline __attribute__((always_inline))
#define READ(memory, values, type) const type *const job = (const type *)(values)
#define AT(address) (memory + (uint32_t)(address))
#define FLOATS(address) ((float *)AT(address))

typedef float Floats __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t Ints __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int8_t Chars __attribute__((vector_size(LANES), aligned(1), may_alias));

INLINE Floats splat(float value) { return value - (Floats){0}; }
INLINE Ints splatInt(int32_t value) { return value - (Ints){0}; }
INLINE Floats load(const float *from) { return *(const Floats *)from; }
INLINE void store(float *to, Floats value) { *(Floats *)to = value; }
/* The lowest byte of each lane. */
INLINE void storeBytes(void *to, Ints value) { *(Chars *)to = __builtin_convertvector(value, Chars); }
INLINE Floats larger(Floats a, Floats b) {
  const Ints isLarger = a > b;
  return (Floats)((isLarger & (Ints)a) | (~isLarger & (Ints)b));
}
/* Lanes are folded by halves, so that it does not matter in which lane the first of some neighbouring numbers is. */
INLINE float sumOf(Floats value) {
  for (int half = LANES / 2; half > 0; half /= 2)
    for (int lane = 0; lane < half; lane++) value[lane] += value[lane + half];
  return value[0];
}
INLINE float largestOf(Floats value) {
  float largest = value[0];
  for (int lane = 1; lane < LANES; lane++) largest = value[lane] > largest ? value[lane] : largest;
  return largest;
}

/*
 * ---- Products of bytes: four whole numbers of weights in each lane times four of activations, the same for every lane. ----
 *
 * `nearest` rounds halves to the even number, by an instruction for that: if it were done by adding 1.5 * 2 ** 23, a compiler would join
 * a product with the sum, and what is to be rounded to float32 first would not be.
 */

#if defined(__AVX512VNNI__)
typedef __m512i Bytes;
INLINE Bytes loadBytes(const uint8_t *from) { return _mm512_loadu_si512(from); }
INLINE Bytes lowHalves(Bytes pair) { return _mm512_and_si512(pair, _mm512_set1_epi8(15)); }
INLINE Bytes highHalves(Bytes pair) { return _mm512_and_si512(_mm512_srli_epi16(pair, 4), _mm512_set1_epi8(15)); }
INLINE Floats toFloats(Ints value) { return (Floats)_mm512_cvtepi32_ps((__m512i)value); }
INLINE Floats loadHalves(const uint8_t *from) { return (Floats)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)from)); }
INLINE Ints nearest(Floats value) { return (Ints)_mm512_cvtps_epi32((__m512)value); }
#elif defined(__AVX2__)
typedef __m256i Bytes;
INLINE Bytes loadBytes(const uint8_t *from) { return _mm256_loadu_si256((const __m256i *)from); }
INLINE Bytes lowHalves(Bytes pair) { return _mm256_and_si256(pair, _mm256_set1_epi8(15)); }
INLINE Bytes highHalves(Bytes pair) { return _mm256_and_si256(_mm256_srli_epi16(pair, 4), _mm256_set1_epi8(15)); }
INLINE Floats toFloats(Ints value) { return (Floats)_mm256_cvtepi32_ps((__m256i)value); }
INLINE Floats loadHalves(const uint8_t *from) { return (Floats)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)from)); }
INLINE Ints nearest(Floats value) { return (Ints)_mm256_cvtps_epi32((__m256)value); }
#else
typedef int8x16_t Bytes;
INLINE Bytes loadBytes(const uint8_t *from) { return vreinterpretq_s8_u8(vld1q_u8(from)); }
INLINE Bytes lowHalves(Bytes pair) { return vandq_s8(pair, vdupq_n_s8(15)); }
INLINE Bytes highHalves(Bytes pair) { return vreinterpretq_s8_u8(vshrq_n_u8(vreinterpretq_u8_s8(pair), 4)); }
INLINE Floats toFloats(Ints value) { return (Floats)vcvtq_f32_s32((int32x4_t)value); }
INLINE Floats loadHalves(const uint8_t *from) { return (Floats)vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(from))); }
INLINE Ints nearest(Floats value) { return (Ints)vcvtnq_s32_f32((float32x4_t)value); }
#endif

/* Numbers of 4-bit weights in a block, by eight: without a sign. */
enum { FOURS = 8 };

/* Sum over a block: weights (0 to 15) times activations (-127 to 127), plus `sum`. */
INLINE Ints dotBlock(Ints sum, const Bytes weights[FOURS], const int32_t *activations) {
#if defined(__AVX512VNNI__)
  __m512i even = (__m512i)sum, odd = _mm512_setzero_si512();
  UNROLL for (int i = 0; i < FOURS; i += 2) {
    even = _mm512_dpbusd_epi32(even, weights[i], _mm512_set1_epi32(activations[i]));
    odd = _mm512_dpbusd_epi32(odd, weights[i + 1], _mm512_set1_epi32(activations[i + 1]));
  }
  return (Ints)_mm512_add_epi32(even, odd);
#elif defined(__AVXVNNI__)
  __m256i even = (__m256i)sum, odd = _mm256_setzero_si256();
  UNROLL for (int i = 0; i < FOURS; i += 2) {
    even = _mm256_dpbusd_avx_epi32(even, weights[i], _mm256_set1_epi32(activations[i]));
    odd = _mm256_dpbusd_avx_epi32(odd, weights[i + 1], _mm256_set1_epi32(activations[i + 1]));
  }
  return (Ints)_mm256_add_epi32(even, odd);
#elif defined(__AVX2__)
  /* Eight sums of two products of 15 and 127 are below 2 ** 15. */
  __m256i pairs = _mm256_maddubs_epi16(weights[0], _mm256_set1_epi32(activations[0]));
  for (int i = 1; i < FOURS; i++)
    pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(weights[i], _mm256_set1_epi32(activations[i])));
  return sum + (Ints)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
#else
  int32x4_t total = (int32x4_t)sum;
  UNROLL for (int i = 0; i < FOURS; i++)
    total = vdotq_s32(total, weights[i], vreinterpretq_s8_s32(vdupq_n_s32(activations[i])));
  return (Ints)total;
#endif
}

/*
 * Dot-product instructions of x86 take one factor without a sign: activations are stored 128 larger then, and what that adds is in
 * the sum from the beginning.
 */
#if defined(__AVX512VNNI__) || defined(__AVXVNNI__)
enum { SHIFT = 128 };
#else
enum { SHIFT = 0 };
#endif

/* 8-bit weights (-127 to 127) times four activations of each row. */
INLINE Ints dotInts(Ints sum, Bytes weights, int32_t activations) {
#if defined(__AVX512VNNI__)
  return (Ints)_mm512_dpbusd_epi32((__m512i)sum, _mm512_set1_epi32(activations), weights);
#elif defined(__AVXVNNI__)
  return (Ints)_mm256_dpbusd_avx_epi32((__m256i)sum, _mm256_set1_epi32(activations), weights);
#elif defined(__AVX2__)
  /* Signs change sides; two products of 127 * 127 are below 2 ** 15. */
  const __m256i signedOnes = _mm256_sign_epi8(_mm256_set1_epi32(activations), weights);
  const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(weights), signedOnes);
  return sum + (Ints)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
#else
  return (Ints)vdotq_s32((int32x4_t)sum, weights, vreinterpretq_s8_s32(vdupq_n_s32(activations)));
#endif
}

/* The same where it is the weights that are made 128 larger, on their way, and activations have their sign. */
INLINE Ints dotWeights(Ints sum, Bytes weights, int32_t activations) {
#if defined(__AVX512VNNI__)
  const Bytes shifted = _mm512_xor_si512(weights, _mm512_set1_epi8(-128));
  return (Ints)_mm512_dpbusd_epi32((__m512i)sum, shifted, _mm512_set1_epi32(activations));
#elif defined(__AVXVNNI__)
  const Bytes shifted = _mm256_xor_si256(weights, _mm256_set1_epi8(-128));
  return (Ints)_mm256_dpbusd_avx_epi32((__m256i)sum, shifted, _mm256_set1_epi32(activations));
#else
  return dotInts(sum, weights, activations);
#endif
}

/* Rows that meet the same weights in registers at a time. */
#if defined(__AVX512VNNI__)
enum { MOST_ROWS = 16 };
#elif defined(__AVX2__)
enum { MOST_ROWS = 4 };
#else
enum { MOST_ROWS = 12 };
#endif

/* Runs `run(row, rows)`, whose second argument is a constant, for all of `count` rows in as few tiles as there can be. */
#define TILE(size, run) for (; count - row >= (size); row += (size)) run(row, size)
#define TILES(count_, run)                        \
  do {                                            \
    const int count = count_;                     \
    int row = 0;                                  \
    if (MOST_ROWS >= 16) TILE(16, run);           \
    if (MOST_ROWS >= 12) TILE(12, run);           \
    if (MOST_ROWS >= 8) TILE(8, run);             \
    TILE(4, run);                                 \
    TILE(3, run);                                 \
    TILE(2, run);                                 \
    TILE(1, run);                                 \
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
  UNROLL for (int row = 0; row < rows; row++) store((float *)((uint8_t *)out + (intptr_t)row * outBytes) + LANES * vector, sums[row]);
}

/* Rows of blocks times weights in blocks -> out [R, O]: a part is so many `groups` of 16 outputs. */
static void multiplyBlocks(uint8_t *memory, const int32_t *values, int first, int count_, int thread) {
  typedef struct {
    int32_t x, xBytes, rows, weights, out, outBytes, blocks, groups, allGroups;
  } Arguments;
  READ(memory, values, Arguments);
  const int from = first * job->groups;
  const int wanted = (first + count_) * job->groups;
  const int to = wanted < job->allGroups ? wanted : job->allGroups;
  for (int group = from; group < to; group++) {
    const uint8_t *const weights = AT(job->weights) + (intptr_t)group * job->blocks * BLOCK_BYTES;
    float *const out = FLOATS(job->out) + TOGETHER * group;
    UNROLL for (int vector = 0; vector < VECTORS; vector++) {
#define RUN(row, rows)                                                                                              \
  multiplyTile(AT(job->x) + (intptr_t)(row) * job->xBytes, job->xBytes, weights,                                   \
               (float *)((uint8_t *)out + (intptr_t)(row) * job->outBytes), job->outBytes, job->blocks, vector, rows)
      TILES(job->rows, RUN);
#undef RUN
    }
  }
  (void)thread;
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
    store((float *)((uint8_t *)out + (intptr_t)row * outBytes) + LANES * vector, toFloats(sums[row]) * scales * splat(largest[row]));
}

/*
 * Rows of whole numbers [R, I], as `roundRows` gives them, times weights [O / 16, I / 4, 16, 4] -> out [R, O] = sum * scale * largest:
 * a part is so many `groups` of 16 outputs. `sums` [O] are those of the weights.
 */
static void multiplyIntegers(uint8_t *memory, const int32_t *values, int first, int count_, int thread) {
  typedef struct {
    int32_t x, xBytes, largest, rows, weights, sums, scales, out, outBytes, inputs, groups, allGroups;
  } Arguments;
  READ(memory, values, Arguments);
  const int from = first * job->groups;
  const int wanted = (first + count_) * job->groups;
  const int to = wanted < job->allGroups ? wanted : job->allGroups;
  for (int group = from; group < to; group++) {
    const uint8_t *const weights = AT(job->weights) + (intptr_t)group * job->inputs * TOGETHER;
    float *const out = FLOATS(job->out) + TOGETHER * group;
    UNROLL for (int vector = 0; vector < VECTORS; vector++) {
      const int column = TOGETHER * group + LANES * vector;
      const Ints start = *(const Ints *)(AT(job->sums) + 4 * column) * splatInt(-SHIFT);
      const Floats scales = load(FLOATS(job->scales) + column);
#define RUN(row, rows)                                                                                                  \
  multiplyIntsTile(AT(job->x) + (intptr_t)(row) * job->xBytes, job->xBytes, FLOATS(job->largest) + (row), weights, start, \
                   scales, (float *)((uint8_t *)out + (intptr_t)(row) * job->outBytes), job->outBytes, job->inputs, vector, rows)
      TILES(job->rows, RUN);
#undef RUN
    }
  }
  (void)thread;
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
    store((float *)((uint8_t *)out + (intptr_t)row * outBytes) + LANES * vector, sums[row] * scales);
}

/*
 * Rows of blocks times 8-bit weights [O / 16, I / 4, 16, 4] of a scale for each output -> out [R, O]: a part is so many `groups` of 16
 * outputs.
 */
static void multiplyMixed(uint8_t *memory, const int32_t *values, int first, int count_, int thread) {
  typedef struct {
    int32_t x, xBytes, rows, weights, scales, out, outBytes, blocks, groups, allGroups;
  } Arguments;
  READ(memory, values, Arguments);
  const int from = first * job->groups;
  const int wanted = (first + count_) * job->groups;
  const int to = wanted < job->allGroups ? wanted : job->allGroups;
  for (int group = from; group < to; group++) {
    const uint8_t *const weights = AT(job->weights) + (intptr_t)group * job->blocks * 32 * TOGETHER;
    float *const out = FLOATS(job->out) + TOGETHER * group;
    for (int vector = 0; vector < VECTORS; vector++) {
      const Floats scales = load(FLOATS(job->scales) + TOGETHER * group + LANES * vector);
#define RUN(row, rows)                                                                                                       \
  multiplyMixedTile(AT(job->x) + (intptr_t)(row) * job->xBytes, job->xBytes, weights, scales,                               \
                    (float *)((uint8_t *)out + (intptr_t)(row) * job->outBytes), job->outBytes, job->blocks, vector, rows)
      TILES(job->rows, RUN);
#undef RUN
    }
  }
  (void)thread;
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
      sums[row] += splat(((const float *)(x + (intptr_t)row * xBytes))[input]) * each;
  }
  UNROLL for (int row = 0; row < rows; row++) {
    float *const to = (float *)((uint8_t *)out + (intptr_t)row * outBytes) + LANES * vector;
    if (isAdded) sums[row] += load(to);
    store(to, sums[row]);
  }
}

/* Rows [R, I] times weights [O / 16, I, 16] -> out [R, O], or added to it: a part is a group of 16 outputs. */
static void multiplyFloats(uint8_t *memory, const int32_t *values, int first, int count_, int thread) {
  typedef struct {
    int32_t x, xBytes, rows, weights, out, outBytes, inputs, isAdded;
  } Arguments;
  READ(memory, values, Arguments);
  for (int group = first; group < first + count_; group++)
    UNROLL for (int vector = 0; vector < VECTORS; vector++) {
#define RUN(row, rows)                                                                                                     \
  multiplyFloatsTile(AT(job->x) + (intptr_t)(row) * job->xBytes, job->xBytes,                                             \
                     FLOATS(job->weights) + (intptr_t)group * job->inputs * TOGETHER,                                     \
                     (float *)(AT(job->out) + (intptr_t)(row) * job->outBytes) + TOGETHER * group, job->outBytes,         \
                     job->inputs, job->isAdded, vector, rows)
      TILES(job->rows, RUN);
#undef RUN
    }
  (void)thread;
}

/* ---- Attention: keys of a head [S / 16, D, 16], values [D / 16, S, 16] ---- */

/* Queries that one pass over keys or values serves. */
#if defined(__AVX512VNNI__)
enum { MOST_QUERIES = 12 };
#else
enum { MOST_QUERIES = 6 };
#endif

/* Calls `run(n)` with the constant n that `count` is, 1 to MOST_QUERIES. */
#define CASE(n, run) case n: if (n <= MOST_QUERIES) run(n); break;
#define QUERIES(count, run)                                                                               \
  switch (count) {                                                                                        \
    CASE(1, run) CASE(2, run) CASE(3, run) CASE(4, run) CASE(5, run) CASE(6, run)                         \
    CASE(7, run) CASE(8, run) CASE(9, run) CASE(10, run) CASE(11, run) CASE(12, run)                      \
  }

/* Heads are at most so wide (row-networks.ts). */
enum { MOST_CHANNELS = 512 };

/*
 * Some queries that share a key head: turned, [D, count], so that one pointer leads to all of them; the masks of their rows [S]; their
 * scores in tiles [S / 16, count, 16], for the same reason; where results [D] go, and what they are multiplied with.
 */
typedef struct {
  int count;
  float *turned, *scores;
  const float *masks[MOST_QUERIES];
  float *outs[MOST_QUERIES], factors[MOST_QUERIES];
} Group;

INLINE void scoreQueries(const Group *group, const float *keys, int headDim, int from, int positions, const int count) {
  float *scores = group->scores + (intptr_t)from * count;
  for (int position = from; position < from + positions; position += TOGETHER, scores += TOGETHER * count) {
    const float *turned = group->turned;
    Floats sums[MOST_QUERIES][VECTORS];
    UNROLL for (int i = 0; i < count; i++)
      UNROLL for (int vector = 0; vector < VECTORS; vector++) sums[i][vector] = load(group->masks[i] + position + LANES * vector);
    for (int channel = 0; channel < headDim; channel++, keys += TOGETHER, turned += count)
      UNROLL for (int vector = 0; vector < VECTORS; vector++) {
        const Floats each = load(keys + LANES * vector);
        UNROLL for (int i = 0; i < count; i++) sums[i][vector] += splat(turned[i]) * each;
      }
    UNROLL for (int i = 0; i < count; i++)
      UNROLL for (int vector = 0; vector < VECTORS; vector++) store(scores + TOGETHER * i + LANES * vector, sums[i][vector]);
  }
}

INLINE void sumQueries(const Group *group, const float *values, int column, int positions, const int count) {
  const float *scores = group->scores;
  Floats sums[MOST_QUERIES][VECTORS];
  UNROLL for (int i = 0; i < count; i++)
    UNROLL for (int vector = 0; vector < VECTORS; vector++) sums[i][vector] = splat(0);
  for (int position = 0; position < positions; position += TOGETHER, scores += TOGETHER * count)
    for (int each = 0; each < TOGETHER; each++, values += TOGETHER)
      UNROLL for (int vector = 0; vector < VECTORS; vector++) {
        const Floats value = load(values + LANES * vector);
        UNROLL for (int i = 0; i < count; i++) sums[i][vector] += splat(scores[TOGETHER * i + each]) * value;
      }
  UNROLL for (int i = 0; i < count; i++)
    UNROLL for (int vector = 0; vector < VECTORS; vector++)
      store(group->outs[i] + column + LANES * vector, sums[i][vector] * splat(group->factors[i]));
}

static void scoreSome(const Group *group, const float *keys, int headDim, int from, int positions) {
#define RUN(n) scoreQueries(group, keys, headDim, from, positions, n)
  QUERIES(group->count, RUN)
#undef RUN
}

static void sumSome(const Group *group, const float *values, int column, int positions) {
#define RUN(n) sumQueries(group, values, column, positions, n)
  QUERIES(group->count, RUN)
#undef RUN
}

/* e^x within 2 units in the last place; 0 below -87. x = n ln 2 + r, and e^r is a polynomial (Cephes, expf). */
INLINE Floats exponential(Floats x) {
  const Ints isLarge = x >= splat(-87);
  const Floats shifter = splat(12582912.0f);
  x = larger(x, splat(-87));
  x = -larger(-x, splat(-88));
  const Floats n = x * splat(1.44269504f) + shifter;
  const Floats whole = n - shifter;
  x = x - whole * splat(0.693359375f) - whole * splat(-2.1219444e-4f);
  Floats sum = splat(1.98756915e-4f);
  sum = sum * x + splat(1.3981999507e-3f);
  sum = sum * x + splat(8.3334519073e-3f);
  sum = sum * x + splat(4.1665795894e-2f);
  sum = sum * x + splat(1.6666665459e-1f);
  sum = sum * x + splat(0.5f);
  sum = sum * (x * x) + x + splat(1);
  const Ints power = ((Ints)n + splatInt(127)) << 23;
  return (Floats)((Ints)(sum * (Floats)power) & isLarge);
}

/* A query's scores, one of `count` in tiles, become e^(score - largest); returns one over their sum. */
INLINE float soften(float *scores, int positions, int count) {
  Floats largest = load(scores);
  for (int tile = 0; tile < positions; tile += TOGETHER)
    for (int i = 0; i < TOGETHER; i += LANES) largest = larger(load(scores + (intptr_t)tile * count + i), largest);
  const Floats most = splat(largestOf(largest));
  Floats sum = splat(0);
  for (int tile = 0; tile < positions; tile += TOGETHER)
    for (int i = 0; i < TOGETHER; i += LANES) {
      float *const at = scores + (intptr_t)tile * count + i;
      const Floats weight = exponential(load(at) - most);
      store(at, weight);
      sum += weight;
    }
  return 1 / sumOf(sum);
}

static int atMost(int a, int b) { return a < b ? a : b; }

/* Where the group of a row's query head has its scores, how many queries it has, and which of them it is. */
static float *scoresOf(float *scores, int slots, int together, int head, int *count, int *place) {
  const int keyHead = head / together, query = head % together, before = query / MOST_QUERIES * MOST_QUERIES;
  *count = atMost(together - before, MOST_QUERIES);
  *place = query - before;
  return scores + ((intptr_t)keyHead * together + before) * slots;
}

/* As `score`, `soften` and `sum` of jobs.ts: for a few rows, which several threads share. Scores of queries lie in tiles. */
static void scoreJob(uint8_t *memory, const int32_t *values, int first, int count, int thread) {
  typedef struct {
    int32_t queries, queryBytes, keys, headBytes, mask, scores, scoreBytes, keyHeads, together, headDim, positions, stretches, stretch;
  } Arguments;
  READ(memory, values, Arguments);
  float turned[MOST_QUERIES * MOST_CHANNELS];
  const int slots = job->scoreBytes / (int)sizeof(float);
  for (int part = first; part < first + count; part++) {
    const int rowOfHeads = part / job->stretches, row = rowOfHeads / job->keyHeads, keyHead = rowOfHeads % job->keyHeads;
    const int from = part % job->stretches * job->stretch, positions = atMost(job->positions - from, job->stretch);
    const float *const keys = (const float *)(AT(job->keys) + (intptr_t)keyHead * job->headBytes) + (intptr_t)from * job->headDim;
    const float *const queries = (const float *)(AT(job->queries) + (intptr_t)row * job->queryBytes);
    for (int done = 0; done < job->together; done += MOST_QUERIES) {
      const int head = (row * job->keyHeads + keyHead) * job->together + done, first = keyHead * job->together + done;
      int place;
      Group group = {.turned = turned};
      group.scores = scoresOf(FLOATS(job->scores), slots, job->together, head, &group.count, &place);
      for (int i = 0; i < group.count; i++) {
        group.masks[i] = (const float *)(AT(job->mask) + (intptr_t)row * job->scoreBytes);
        for (int channel = 0; channel < job->headDim; channel++)
          turned[channel * group.count + i] = queries[(first + i) * job->headDim + channel];
      }
      scoreSome(&group, keys, job->headDim, from, positions);
    }
  }
  (void)thread;
}

static void softenJob(uint8_t *memory, const int32_t *values, int first, int count, int thread) {
  typedef struct {
    int32_t scores, scoreBytes, together, positions, factors;
  } Arguments;
  READ(memory, values, Arguments);
  for (int part = first; part < first + count; part++) {
    int queries, place;
    float *const scores = scoresOf(FLOATS(job->scores), job->scoreBytes / (int)sizeof(float), job->together, part, &queries, &place);
    FLOATS(job->factors)[part] = soften(scores + TOGETHER * place, job->positions, queries);
  }
  (void)thread;
}

static void sumJob(uint8_t *memory, const int32_t *values, int first, int count, int thread) {
  typedef struct {
    int32_t scores, scoreBytes, factors, values, headBytes, out, outBytes, keyHeads, together, headDim, slots, positions, strips;
  } Arguments;
  READ(memory, values, Arguments);
  const int slots = job->scoreBytes / (int)sizeof(float);
  for (int part = first; part < first + count; part++) {
    const int rowOfHeads = part / job->strips, row = rowOfHeads / job->keyHeads, keyHead = rowOfHeads % job->keyHeads;
    const int strip = part % job->strips;
    const float *const strips = (const float *)(AT(job->values) + (intptr_t)keyHead * job->headBytes);
    float *const out = (float *)(AT(job->out) + (intptr_t)row * job->outBytes);
    for (int done = 0; done < job->together; done += MOST_QUERIES) {
      const int head = (row * job->keyHeads + keyHead) * job->together + done, first = keyHead * job->together + done;
      int place;
      Group group = {0};
      group.scores = scoresOf(FLOATS(job->scores), slots, job->together, head, &group.count, &place);
      for (int i = 0; i < group.count; i++) {
        group.outs[i] = out + (first + i) * job->headDim;
        group.factors[i] = FLOATS(job->factors)[head + i];
      }
      sumSome(&group, strips + (intptr_t)strip * job->slots * TOGETHER, TOGETHER * strip, job->positions);
    }
  }
  (void)thread;
}

/*
 * All of attention for many rows, `scale` times their scores: a part is a key head of `tile` rows. A row sees nothing from its end
 * [R] on, a multiple of 16. Each thread has `scratchBytes` for MOST_QUERIES and their scores.
 */
static void attend(uint8_t *memory, const int32_t *values, int first, int count, int thread) {
  typedef struct {
    int32_t queries, queryBytes, rows, keys, values, headBytes, mask, maskBytes, out, outBytes, keyHeads, together, headDim, slots,
        ends, tile, scratch, scratchBytes;
    float scale;
  } Arguments;
  READ(memory, values, Arguments);
  float *const scores = (float *)(AT(job->scratch) + (intptr_t)thread * job->scratchBytes);
  float *const turned = scores + (intptr_t)MOST_QUERIES * job->slots;
  const int tiles = (job->rows + job->tile - 1) / job->tile;
  for (int part = first; part < first + count; part++) {
    /* Tiles of the same key head one after the other, while its keys and values are in a cache. */
    const int keyHead = part / tiles, firstRow = part % tiles * job->tile;
    const int queries = atMost(job->rows - firstRow, job->tile) * job->together;
    const float *const keys = (const float *)(AT(job->keys) + (intptr_t)keyHead * job->headBytes);
    const float *const strips = (const float *)(AT(job->values) + (intptr_t)keyHead * job->headBytes);
    for (int done = 0; done < queries; done += MOST_QUERIES) {
      Group group = {.count = atMost(queries - done, MOST_QUERIES), .turned = turned, .scores = scores};
      int positions = TOGETHER;
      for (int i = 0; i < group.count; i++) {
        const int row = firstRow + (done + i) / job->together, head = keyHead * job->together + (done + i) % job->together;
        const float *const query = (const float *)(AT(job->queries) + (intptr_t)row * job->queryBytes) + head * job->headDim;
        for (int channel = 0; channel < job->headDim; channel++) turned[channel * group.count + i] = query[channel] * job->scale;
        group.masks[i] = (const float *)(AT(job->mask) + (intptr_t)row * job->maskBytes);
        group.outs[i] = (float *)(AT(job->out) + (intptr_t)row * job->outBytes) + head * job->headDim;
        const int end = ((const int32_t *)AT(job->ends))[row];
        positions = end > positions ? end : positions;
      }
      scoreSome(&group, keys, job->headDim, 0, positions);
      for (int i = 0; i < group.count; i++) group.factors[i] = soften(scores + TOGETHER * i, positions, group.count);
      for (int column = 0; column < job->headDim; column += TOGETHER)
        sumSome(&group, strips + (intptr_t)column * job->slots, column, positions);
    }
  }
}

/* Rotates pairs of neighbouring values of some heads: `turn` has each cosine twice, then each sine with a minus and without. */
INLINE void rotate(float *x, const float *turn, int headDim, int heads) {
  const float *const sines = turn + headDim;
  for (int head = 0; head < heads; head++, x += headDim)
    for (int i = 0; i < headDim; i += 2) {
      const float first = x[i], second = x[i + 1];
      x[i] = first * turn[i] + second * sines[i];
      x[i + 1] = second * turn[i + 1] + first * sines[i + 1];
    }
}

/*
 * Rotates queries and keys of rows [(heads + 2 keyHeads) D], and puts keys and values into a slot each: tiles, strips, and `made`
 * [2, keyHeads, R, D]. A part is a row.
 */
static void place(uint8_t *memory, const int32_t *values, int first, int count, int thread) {
  typedef struct {
    int32_t x, xBytes, rows, turns, turnBytes, heads, keyHeads, headDim, slotsOfRows, keys, values, headBytes, slots, made;
  } Arguments;
  READ(memory, values, Arguments);
  const int headDim = job->headDim;
  for (int row = first; row < first + count; row++) {
    float *const x = (float *)(AT(job->x) + (intptr_t)row * job->xBytes);
    rotate(x, (const float *)(AT(job->turns) + (intptr_t)row * job->turnBytes), headDim, job->heads + job->keyHeads);
    const int slot = ((const int32_t *)AT(job->slotsOfRows))[row], within = slot % TOGETHER;
    for (int head = 0; head < job->keyHeads; head++) {
      const float *const key = x + (job->heads + head) * headDim, *const value = key + job->keyHeads * headDim;
      float *const tile = (float *)(AT(job->keys) + (intptr_t)head * job->headBytes) + (intptr_t)(slot - within) * headDim + within;
      float *const strips = (float *)(AT(job->values) + (intptr_t)head * job->headBytes) + (intptr_t)slot * TOGETHER;
      for (int i = 0; i < headDim; i++) tile[i * TOGETHER] = key[i];
      for (int i = 0; i < headDim; i += TOGETHER) memcpy(strips + (intptr_t)i * job->slots, value + i, sizeof(float) * TOGETHER);
      float *const made = FLOATS(job->made) + ((intptr_t)head * job->rows + row) * headDim;
      memcpy(made, key, sizeof(float) * headDim);
      memcpy(made + (intptr_t)job->keyHeads * job->rows * headDim, value, sizeof(float) * headDim);
    }
  }
  (void)thread;
}

/* ---- Rows between products: a part is a row. Widths are multiples of 16. ---- */

/* RMSNorm: x / sqrt(mean of squares + epsilon) * weight. */
static void norm(uint8_t *memory, const int32_t *values, int first, int count, int thread) {
  typedef struct {
    int32_t x, xBytes, weight, out, outBytes, width;
    float epsilon;
  } Arguments;
  READ(memory, values, Arguments);
  const float *const weight = FLOATS(job->weight);
  for (int row = first; row < first + count; row++) {
    const float *const x = (const float *)(AT(job->x) + (intptr_t)row * job->xBytes);
    float *const out = (float *)(AT(job->out) + (intptr_t)row * job->outBytes);
    Floats sum = splat(0);
    for (int i = 0; i < job->width; i += LANES) sum += load(x + i) * load(x + i);
    const Floats factor = splat(1 / sqrtf(sumOf(sum) / (float)job->width + job->epsilon));
    for (int i = 0; i < job->width; i += LANES) store(out + i, load(x + i) * factor * load(weight + i));
  }
  (void)thread;
}

/* Gates [width] and the values behind them [width]: each gate becomes silu(gate) * value. */
static void swiGlu(uint8_t *memory, const int32_t *values, int first, int count, int thread) {
  typedef struct {
    int32_t x, xBytes, width;
  } Arguments;
  READ(memory, values, Arguments);
  for (int row = first; row < first + count; row++) {
    float *const gates = (float *)(AT(job->x) + (intptr_t)row * job->xBytes);
    for (int i = 0; i < job->width; i += LANES) {
      const Floats gate = load(gates + i);
      store(gates + i, gate / (splat(1) + exponential(-gate)) * load(gates + job->width + i));
    }
  }
  (void)thread;
}

/* Adds y to x. */
static void add(uint8_t *memory, const int32_t *values, int first, int count, int thread) {
  typedef struct {
    int32_t x, xBytes, y, yBytes, width;
  } Arguments;
  READ(memory, values, Arguments);
  for (int row = first; row < first + count; row++) {
    float *const x = (float *)(AT(job->x) + (intptr_t)row * job->xBytes);
    const float *const y = (const float *)(AT(job->y) + (intptr_t)row * job->yBytes);
    for (int i = 0; i < job->width; i += LANES) store(x + i, load(x + i) + load(y + i));
  }
  (void)thread;
}

/* Largest magnitude; NaN if one is NaN, whose bits are those of the largest number. */
INLINE float reachOf(const float *x, int count) {
  Ints largest = splatInt(0);
  for (int i = 0; i < count; i += LANES) {
    const Ints magnitude = (Ints)load(x + i) & splatInt(0x7fffffff);
    const Ints isLarger = magnitude > largest;
    largest = (isLarger & magnitude) | (~isLarger & largest);
  }
  int32_t most = 0;
  for (int lane = 0; lane < LANES; lane++) most = largest[lane] > most ? largest[lane] : most;
  float reach;
  memcpy(&reach, &most, sizeof reach);
  return reach;
}

/* Rows [R, I] -> blocks of whole numbers (`ActivationBlock`), as in onnxruntime's MatMulNBits. */
static void roundBlocks(uint8_t *memory, const int32_t *values, int first, int count, int thread) {
  typedef struct {
    int32_t x, xBytes, out, outBytes, inputs;
  } Arguments;
  READ(memory, values, Arguments);
  for (int row = first; row < first + count; row++) {
    const float *x = (const float *)(AT(job->x) + (intptr_t)row * job->xBytes);
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
  (void)thread;
}

/* Rows [R, I], divided by their largest magnitude [R] and by `step` -> whole numbers [R, I], SHIFT larger. */
static void roundRows(uint8_t *memory, const int32_t *values, int first, int count, int thread) {
  typedef struct {
    int32_t x, xBytes, out, outBytes, largest, inputs;
    float step;
  } Arguments;
  READ(memory, values, Arguments);
  for (int row = first; row < first + count; row++) {
    const float *const x = (const float *)(AT(job->x) + (intptr_t)row * job->xBytes);
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
  (void)thread;
}

/* Rows of logits [width], with room up to a whole number of vectors, become the masses of their softmax: a part is a row. */
static void softmax(uint8_t *memory, const int32_t *values, int first, int count, int thread) {
  typedef struct {
    int32_t x, xBytes, width;
  } Arguments;
  READ(memory, values, Arguments);
  const int filled = (job->width + TOGETHER - 1) / TOGETHER * TOGETHER;
  for (int row = first; row < first + count; row++) {
    float *const x = (float *)(AT(job->x) + (intptr_t)row * job->xBytes);
    for (int i = job->width; i < filled; i++) x[i] = -1e30f;
    const Floats factor = splat(soften(x, filled, 1));
    for (int i = 0; i < filled; i += LANES) store(x + i, load(x + i) * factor);
  }
  (void)thread;
}

#define NAME_OF(variant) jobs_##variant
#define DEFINE(variant) const Variant NAME_OF(variant)
#define TEXT_OF(variant) #variant
#define TEXT(variant) TEXT_OF(variant)

DEFINE(JOBS_VARIANT) = {
    .name = TEXT(JOBS_VARIANT),
    .jobs = {multiplyBlocks, multiplyIntegers, scoreJob, softenJob, sumJob, attend, norm, roundBlocks, roundRows, swiGlu, add, multiplyFloats, place, multiplyMixed, softmax},
};
