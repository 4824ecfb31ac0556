/*
 * Vectors of float32 and int32, as wide as the processor has them that jobs.c is compiled for.
 */
#ifndef BLT_VECTORS_H
#define BLT_VECTORS_H

#include "jobs.h"

#include <math.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#else
#include <arm_neon.h>
#endif

/* Outputs of a group, positions of a tile of keys, columns of a strip of values. */
enum { TOGETHER = 16 };

#if defined(__AVX512BW__)
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
#if defined(__clang__) && defined(__AVX512BW__)
#define NEXT_ROW() __asm__ __volatile__("" ::: "memory")
#else
#define NEXT_ROW() (void)0
#endif

#define INLINE static inline __attribute__((always_inline))
/* A job's head, as `Job` in jobs.h; most have no use for the thread. */
#define JOB(name) \
  static void name(uint8_t *memory, const int32_t *values, int first, int count, __attribute__((unused)) int thread)
#define AT(address) (memory + (uint32_t)(address))
#define FLOATS(address) ((float *)AT(address))

typedef float Floats __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t Ints __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int8_t Chars __attribute__((vector_size(LANES), aligned(1), may_alias));

/* Row of rows that begin so many `bytes` apart. */
INLINE float *rowOf(const void *rows, int row, int bytes) { return (float *)((uintptr_t)rows + (intptr_t)row * bytes); }

INLINE Floats splat(float value) { return value - (Floats){0}; }
INLINE Ints splatInt(int32_t value) { return value - (Ints){0}; }
INLINE Floats load(const float *from) { return *(const Floats *)from; }
INLINE void store(float *to, Floats value) { *(Floats *)to = value; }
/* The lowest byte of each lane. */
INLINE void storeBytes(void *to, Ints value) { *(Chars *)to = __builtin_convertvector(value, Chars); }
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
 * `dotMixed` adds products of numbers without a sign and of numbers with one, where there is an instruction for it (HAS_MIXED_DOT);
 * elsewhere `dotSigned` adds those of two numbers with a sign, from -127 to 127. `joinLowHalves` makes bytes of the lower
 * halves of two vectors, `joinHighHalves` of the upper ones. On x86 that is made of pairs (HAS_PAIRS): `pairsOf` gives sums
 * of two products in 16 bits, the first factors without a sign, `addPairs` adds such sums, and `sumPairs` gives those of two in 32 bits.
 *
 * `isSome` says whether a bit is set in any lane. `nearest` rounds halves to the even number, by an instruction for that: if it were done by adding 1.5 * 2 ** 23, a compiler would join
 * a product with the sum, and what is to be rounded to float32 first would not be.
 */

#if defined(__AVX512BW__)
typedef __m512i Bytes;
INLINE Bytes loadBytes(const uint8_t *from) { return _mm512_loadu_si512(from); }
INLINE Bytes lowHalves(Bytes pair) { return _mm512_and_si512(pair, _mm512_set1_epi8(15)); }
INLINE Bytes highHalves(Bytes pair) { return _mm512_and_si512(_mm512_srli_epi16(pair, 4), _mm512_set1_epi8(15)); }
INLINE Floats toFloats(Ints value) { return (Floats)_mm512_cvtepi32_ps((__m512i)value); }
INLINE Floats loadHalves(const uint8_t *from) { return (Floats)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)from)); }
INLINE Ints loadChars(const uint8_t *from) { return (Ints)_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)from)); }
INLINE Ints nearest(Floats value) { return (Ints)_mm512_cvtps_epi32((__m512)value); }
INLINE Bytes splatBytes(int32_t four) { return _mm512_set1_epi32(four); }
INLINE int isSome(Ints mask) { return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask) != 0; }
#if defined(__AVX512VNNI__)
INLINE Bytes joinLowHalves(Bytes upper, Bytes lower) {
  return _mm512_or_si512(_mm512_slli_epi16(lowHalves(upper), 4), lowHalves(lower));
}
INLINE Bytes joinHighHalves(Bytes upper, Bytes lower) {
  return _mm512_or_si512(_mm512_andnot_si512(_mm512_set1_epi8(15), upper), highHalves(lower));
}
#define HAS_MIXED_DOT
INLINE Ints dotMixed(Ints sum, Bytes unsignedOnes, Bytes signedOnes) {
  return (Ints)_mm512_dpbusd_epi32((__m512i)sum, unsignedOnes, signedOnes);
}
#else
#define HAS_PAIRS
INLINE Bytes pairsOf(Bytes unsignedOnes, Bytes signedOnes) { return _mm512_maddubs_epi16(unsignedOnes, signedOnes); }
INLINE Bytes addPairs(Bytes a, Bytes b) { return _mm512_add_epi16(a, b); }
INLINE Ints sumPairs(Bytes pairs) { return (Ints)_mm512_madd_epi16(pairs, _mm512_set1_epi16(1)); }
INLINE Bytes magnitudes(Bytes value) { return _mm512_abs_epi8(value); }
/* `value` with the other sign where `sign` is below 0. */
INLINE Bytes withSigns(Bytes value, Bytes sign) {
  return _mm512_mask_sub_epi8(value, _mm512_movepi8_mask(sign), _mm512_setzero_si512(), value);
}
#endif
#elif defined(__AVX2__)
typedef __m256i Bytes;
INLINE Bytes loadBytes(const uint8_t *from) { return _mm256_loadu_si256((const __m256i *)from); }
INLINE Bytes lowHalves(Bytes pair) { return _mm256_and_si256(pair, _mm256_set1_epi8(15)); }
INLINE Bytes highHalves(Bytes pair) { return _mm256_and_si256(_mm256_srli_epi16(pair, 4), _mm256_set1_epi8(15)); }
INLINE Floats toFloats(Ints value) { return (Floats)_mm256_cvtepi32_ps((__m256i)value); }
INLINE Floats loadHalves(const uint8_t *from) { return (Floats)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)from)); }
INLINE Ints loadChars(const uint8_t *from) { return (Ints)_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)from)); }
INLINE Ints nearest(Floats value) { return (Ints)_mm256_cvtps_epi32((__m256)value); }
INLINE Bytes splatBytes(int32_t four) { return _mm256_set1_epi32(four); }
INLINE int isSome(Ints mask) { return !_mm256_testz_si256((__m256i)mask, (__m256i)mask); }
#if defined(__AVXVNNI__)
INLINE Bytes joinLowHalves(Bytes upper, Bytes lower) {
  return _mm256_or_si256(_mm256_slli_epi16(lowHalves(upper), 4), lowHalves(lower));
}
INLINE Bytes joinHighHalves(Bytes upper, Bytes lower) {
  return _mm256_or_si256(_mm256_andnot_si256(_mm256_set1_epi8(15), upper), highHalves(lower));
}
#define HAS_MIXED_DOT
INLINE Ints dotMixed(Ints sum, Bytes unsignedOnes, Bytes signedOnes) {
  return (Ints)_mm256_dpbusd_avx_epi32((__m256i)sum, unsignedOnes, signedOnes);
}
#else
#define HAS_PAIRS
INLINE Bytes pairsOf(Bytes unsignedOnes, Bytes signedOnes) { return _mm256_maddubs_epi16(unsignedOnes, signedOnes); }
INLINE Bytes addPairs(Bytes a, Bytes b) { return _mm256_add_epi16(a, b); }
INLINE Ints sumPairs(Bytes pairs) { return (Ints)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)); }
INLINE Bytes magnitudes(Bytes value) { return _mm256_abs_epi8(value); }
INLINE Bytes withSigns(Bytes value, Bytes sign) { return _mm256_sign_epi8(value, sign); }
#endif
#else
typedef int8x16_t Bytes;
INLINE Bytes loadBytes(const uint8_t *from) { return vreinterpretq_s8_u8(vld1q_u8(from)); }
INLINE Bytes lowHalves(Bytes pair) { return vandq_s8(pair, vdupq_n_s8(15)); }
INLINE Bytes highHalves(Bytes pair) { return vreinterpretq_s8_u8(vshrq_n_u8(vreinterpretq_u8_s8(pair), 4)); }
INLINE Floats toFloats(Ints value) { return (Floats)vcvtq_f32_s32((int32x4_t)value); }
INLINE Floats loadHalves(const uint8_t *from) { return (Floats)vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(from))); }
INLINE Ints loadChars(const uint8_t *from) { return (Ints)vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u32(vld1_dup_u32((const uint32_t *)from))))); }
INLINE Ints nearest(Floats value) { return (Ints)vcvtnq_s32_f32((float32x4_t)value); }
INLINE Bytes splatBytes(int32_t four) { return vreinterpretq_s8_s32(vdupq_n_s32(four)); }
INLINE int isSome(Ints mask) { return vmaxvq_u32(vreinterpretq_u32_s32((int32x4_t)mask)) != 0; }
INLINE Ints dotSigned(Ints sum, Bytes a, Bytes b) { return (Ints)vdotq_s32((int32x4_t)sum, a, b); }
#endif

#if defined(HAS_PAIRS)
/* Signs change sides; two products of 127 * 127 are below 2 ** 15. */
INLINE Ints dotSigned(Ints sum, Bytes a, Bytes b) { return sum + sumPairs(pairsOf(magnitudes(a), withSigns(b, a))); }
#endif

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

INLINE int atMost(int a, int b) { return a < b ? a : b; }

/* Fills up a row behind its `width` values to a whole number of vectors, with what counts for nothing among logits. */
INLINE void fillRow(float *x, int width) {
  for (int i = width; i % TOGETHER != 0; i++) x[i] = -1e30f;
}

#endif
