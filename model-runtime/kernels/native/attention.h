/*
 * Attention of rows, and what is done to their queries, keys and values before it.
 *
 * Letters: R rows, D head width, S slots for positions.
 */
#ifndef BLT_ATTENTION_H
#define BLT_ATTENTION_H

#include "vectors.h"

/*
 * Keys of a head lie in tiles [S / 16, D, 16], values in strips [D / 16, S, 16], numbers of `numberBytes`: float32, or whole numbers of one byte
 * and a scale for each slot [S] where there may be many, since reading them is what a step behind a long text waits for.
 */
enum { ONE_BYTE = 1 };

INLINE Floats loadNumbers(const uint8_t *from, const int numberBytes) {
  return numberBytes == ONE_BYTE ? toFloats(loadChars(from)) : load((const float *)from);
}

/* How far ahead of their use keys and values are asked for: the processor's own reading ahead ends at a page, which here are small ones. */
enum { FAR = 4096 };

/* Queries that one pass over keys or values serves. */
#if defined(__AVX512BW__)
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

/* Where the keys of a head begin, or its values. */
INLINE uint8_t *headOf(uint8_t *all, int head, int headBytes) { return all + (intptr_t)head * headBytes; }

/* The scales of a head's slots; NULL where numbers are float32. */
INLINE float *scalesOf(uint8_t *all, int head, int slots, int numberBytes) {
  return numberBytes == ONE_BYTE ? (float *)all + (intptr_t)head * slots : NULL;
}

/* `scales` of the keys' slots where they are whole numbers. */
INLINE void scoreQueries(const Group *group, const uint8_t *keys, const float *scales, int headDim, int from, int positions,
                         const int numberBytes, const int count) {
  float *scores = group->scores + (intptr_t)from * count;
  for (int position = from; position < from + positions; position += TOGETHER, scores += TOGETHER * count) {
    const float *turned = group->turned;
    for (int line = 0; line < TOGETHER * headDim * numberBytes; line += 64) __builtin_prefetch(keys + FAR + line);
    Floats sums[MOST_QUERIES][VECTORS];
    UNROLL for (int i = 0; i < count; i++)
      UNROLL for (int vector = 0; vector < VECTORS; vector++)
        sums[i][vector] = numberBytes == ONE_BYTE ? splat(0) : load(group->masks[i] + position + LANES * vector);
    for (int channel = 0; channel < headDim; channel++, keys += TOGETHER * numberBytes, turned += count)
      UNROLL for (int vector = 0; vector < VECTORS; vector++) {
        const Floats each = loadNumbers(keys + LANES * vector * numberBytes, numberBytes);
        UNROLL for (int i = 0; i < count; i++) sums[i][vector] += splat(turned[i]) * each;
      }
    UNROLL for (int i = 0; i < count; i++)
      UNROLL for (int vector = 0; vector < VECTORS; vector++) {
        const int at = position + LANES * vector;
        if (numberBytes == ONE_BYTE) sums[i][vector] = sums[i][vector] * load(scales + at) + load(group->masks[i] + at);
        store(scores + TOGETHER * i + LANES * vector, sums[i][vector]);
      }
  }
}

INLINE void sumQueries(const Group *group, const uint8_t *values, int column, int positions, const int numberBytes, const int count) {
  const float *scores = group->scores;
  Floats sums[MOST_QUERIES][VECTORS];
  UNROLL for (int i = 0; i < count; i++)
    UNROLL for (int vector = 0; vector < VECTORS; vector++) sums[i][vector] = splat(0);
  for (int position = 0; position < positions; position += TOGETHER, scores += TOGETHER * count) {
    for (int line = 0; line < TOGETHER * TOGETHER * numberBytes; line += 64) __builtin_prefetch(values + FAR + line);
    for (int each = 0; each < TOGETHER; each++, values += TOGETHER * numberBytes)
      UNROLL for (int vector = 0; vector < VECTORS; vector++) {
        const Floats value = loadNumbers(values + LANES * vector * numberBytes, numberBytes);
        UNROLL for (int i = 0; i < count; i++) sums[i][vector] += splat(scores[TOGETHER * i + each]) * value;
      }
  }
  UNROLL for (int i = 0; i < count; i++)
    UNROLL for (int vector = 0; vector < VECTORS; vector++)
      store(group->outs[i] + column + LANES * vector, sums[i][vector] * splat(group->factors[i]));
}

static void scoreSome(const Group *group, const uint8_t *keys, const float *scales, int headDim, int from, int positions, int numberBytes) {
#define RUN(n) scoreQueries(group, keys, scales, headDim, from, positions, ONE_BYTE, n)
  if (numberBytes == ONE_BYTE) QUERIES(group->count, RUN)
#undef RUN
#define RUN(n) scoreQueries(group, keys, scales, headDim, from, positions, sizeof(float), n)
  else QUERIES(group->count, RUN)
#undef RUN
}

static void sumSome(const Group *group, const uint8_t *values, int column, int positions, int numberBytes) {
#define RUN(n) sumQueries(group, values, column, positions, ONE_BYTE, n)
  if (numberBytes == ONE_BYTE) QUERIES(group->count, RUN)
#undef RUN
#define RUN(n) sumQueries(group, values, column, positions, sizeof(float), n)
  else QUERIES(group->count, RUN)
#undef RUN
}

/*
 * A query's scores, one of `count` in tiles, become e^(score - largest), times the scales [positions] of what they are going to be multiplied
 * with, if there are any; returns one over their sum without these.
 */
INLINE float soften(float *scores, int positions, int count, const float *scales) {
  Floats largest = load(scores);
  for (int tile = 0; tile < positions; tile += TOGETHER)
    for (int i = 0; i < TOGETHER; i += LANES) largest = larger(load(scores + (intptr_t)tile * count + i), largest);
  const Floats most = splat(largestOf(largest));
  Floats sum = splat(0);
  for (int tile = 0; tile < positions; tile += TOGETHER)
    for (int i = 0; i < TOGETHER; i += LANES) {
      float *const at = scores + (intptr_t)tile * count + i;
      const Floats weight = exponential(load(at) - most);
      if (scales == NULL) store(at, weight);
      else store(at, weight * load(scales + tile + i));
      sum += weight;
    }
  return 1 / sumOf(sum);
}

/* Row and head of a query among those of a tile's rows that share a key head. */
typedef struct {
  int row, head;
} Query;

INLINE Query queryOf(int firstRow, int place, int keyHead, int together) {
  return (Query){firstRow + place / together, keyHead * together + place % together};
}

/* Takes a query [D], times `scale`, as one of a group's. */
INLINE void turn(const Group *group, int place, const float *query, int headDim, float scale) {
  for (int channel = 0; channel < headDim; channel++) group->turned[channel * group->count + place] = query[channel] * scale;
}

/*
 * Rows are worked through by tiles, whose queries of a key head are a group, or several where they are more than MOST_QUERIES. This is the one
 * that a tile's query is in: of how many, its place among them, and its scores, which lie behind those of the rows before the tile.
 */
typedef struct {
  int firstRow, rows, count, place;
  float *scores;
} Place;

INLINE Place placeOf(float *scores, int slots, int tile, int tileRows, int rows, int keyHead, int keyHeads, int together, int query) {
  Place found = {.firstRow = tile * tileRows};
  found.rows = atMost(rows - found.firstRow, tileRows);
  const int before = query / MOST_QUERIES * MOST_QUERIES, queries = found.rows * together;
  found.count = atMost(queries - before, MOST_QUERIES);
  found.place = query - before;
  found.scores = scores + ((intptr_t)found.firstRow * keyHeads * together + keyHead * queries + before) * slots;
  return found;
}

/* How many positions are attended to, and in stretches of how many they are shared: multiples of 16. */
typedef struct {
  int32_t positions, stretch;
} Sight;

/*
 * Attention of a few rows, whose scores lie beside each other for several threads to share: `score`, `soften` and `sum`. A row's queries are
 * [keyHeads, together, D].
 */
JOB(score) {
  typedef struct {
    int32_t queries, queryBytes, rows, keys, headBytes, mask, maskBytes, scores, keyHeads, together, headDim, slots, sight, stretches, tile;
    float scale;
    int32_t numberBytes, keyScales;
  } Arguments;
  const Arguments *const job = (const Arguments *)values;
  const Sight *const sight = (const Sight *)AT(job->sight);
  float turned[MOST_QUERIES * MOST_CHANNELS];
  for (int part = first; part < first + count; part++) {
    const int from = part % job->stretches * sight->stretch;
    if (from >= sight->positions) continue;
    const int keyHead = part / job->stretches % job->keyHeads;
    const int tile = part / job->stretches / job->keyHeads;
    const uint8_t *const keys = headOf(AT(job->keys), keyHead, job->headBytes) + (intptr_t)from * job->headDim * job->numberBytes;
    for (int done = 0, all = 1; done < all; done += MOST_QUERIES) {
      const Place place =
          placeOf(FLOATS(job->scores), job->slots, tile, job->tile, job->rows, keyHead, job->keyHeads, job->together, done);
      all = place.rows * job->together;
      Group group = {.count = place.count, .turned = turned, .scores = place.scores};
      for (int i = 0; i < group.count; i++) {
        const Query query = queryOf(place.firstRow, done + i, keyHead, job->together);
        group.masks[i] = rowOf(AT(job->mask), query.row, job->maskBytes);
        turn(&group, i, rowOf(AT(job->queries), query.row, job->queryBytes) + query.head * job->headDim, job->headDim, job->scale);
      }
      scoreSome(&group, keys, scalesOf(AT(job->keyScales), keyHead, job->slots, job->numberBytes), job->headDim, from,
                atMost(sight->positions - from, sight->stretch), job->numberBytes);
    }
  }
}

JOB(softenJob) {
  typedef struct {
    int32_t scores, rows, keyHeads, together, slots, sight, tile, factors, numberBytes, valueScales;
  } Arguments;
  const Arguments *const job = (const Arguments *)values;
  const Sight *const sight = (const Sight *)AT(job->sight);
  const int heads = job->keyHeads * job->together;
  for (int part = first; part < first + count; part++) {
    const int row = part / heads, head = part % heads;
    const Place place = placeOf(FLOATS(job->scores), job->slots, row / job->tile, job->tile, job->rows, head / job->together, job->keyHeads,
                                job->together, row % job->tile * job->together + head % job->together);
    FLOATS(job->factors)[part] = soften(place.scores + TOGETHER * place.place, sight->positions, place.count,
                                       scalesOf(AT(job->valueScales), head / job->together, job->slots, job->numberBytes));
  }
}

JOB(sum) {
  typedef struct {
    int32_t scores, rows, factors, values, headBytes, out, outBytes, keyHeads, together, headDim, slots, sight, tile, numberBytes;
  } Arguments;
  const Arguments *const job = (const Arguments *)values;
  const Sight *const sight = (const Sight *)AT(job->sight);
  const int strips = job->headDim / TOGETHER;
  for (int part = first; part < first + count; part++) {
    const int column = part % strips * TOGETHER, keyHead = part / strips % job->keyHeads, tile = part / strips / job->keyHeads;
    const uint8_t *const strip =
        headOf(AT(job->values), keyHead, job->headBytes) + (intptr_t)column * job->slots * job->numberBytes;
    for (int done = 0, all = 1; done < all; done += MOST_QUERIES) {
      const Place place =
          placeOf(FLOATS(job->scores), job->slots, tile, job->tile, job->rows, keyHead, job->keyHeads, job->together, done);
      all = place.rows * job->together;
      Group group = {.count = place.count, .scores = place.scores};
      for (int i = 0; i < group.count; i++) {
        const Query query = queryOf(place.firstRow, done + i, keyHead, job->together);
        group.outs[i] = rowOf(AT(job->out), query.row, job->outBytes) + query.head * job->headDim;
        group.factors[i] = FLOATS(job->factors)[query.row * job->keyHeads * job->together + query.head];
      }
      sumSome(&group, strip, column, sight->positions, job->numberBytes);
    }
  }
}

/*
 * All of attention for many rows, `scale` times their scores: a part is a key head of `tile` rows. A row sees nothing from its end
 * [R] on, a multiple of 16. Each thread has `scratchBytes` for MOST_QUERIES and their scores.
 */
JOB(attend) {
  typedef struct {
    int32_t queries, queryBytes, rows, keys, values, headBytes, mask, maskBytes, out, outBytes, keyHeads, together, headDim, slots,
        ends, tile, scratch, scratchBytes;
    float scale;
    int32_t numberBytes, keyScales, valueScales;
  } Arguments;
  const Arguments *const job = (const Arguments *)values;
  float *const scores = (float *)(AT(job->scratch) + (intptr_t)thread * job->scratchBytes);
  float *const turned = scores + (intptr_t)MOST_QUERIES * job->slots;
  const int tiles = (job->rows + job->tile - 1) / job->tile;
  for (int part = first; part < first + count; part++) {
    /* Tiles of the same key head one after the other, while its keys and values are in a cache. */
    const int keyHead = part / tiles, firstRow = part % tiles * job->tile;
    const int queries = atMost(job->rows - firstRow, job->tile) * job->together;
    const uint8_t *const keys = headOf(AT(job->keys), keyHead, job->headBytes);
    const uint8_t *const strips = headOf(AT(job->values), keyHead, job->headBytes);
    for (int done = 0; done < queries; done += MOST_QUERIES) {
      Group group = {.count = atMost(queries - done, MOST_QUERIES), .turned = turned, .scores = scores};
      int positions = TOGETHER;
      for (int i = 0; i < group.count; i++) {
        const Query query = queryOf(firstRow, done + i, keyHead, job->together);
        turn(&group, i, rowOf(AT(job->queries), query.row, job->queryBytes) + query.head * job->headDim, job->headDim, job->scale);
        group.masks[i] = rowOf(AT(job->mask), query.row, job->maskBytes);
        group.outs[i] = rowOf(AT(job->out), query.row, job->outBytes) + query.head * job->headDim;
        const int end = ((const int32_t *)AT(job->ends))[query.row];
        positions = end > positions ? end : positions;
      }
      const float *const keyScales = scalesOf(AT(job->keyScales), keyHead, job->slots, job->numberBytes);
      const float *const valueScales = scalesOf(AT(job->valueScales), keyHead, job->slots, job->numberBytes);
      scoreSome(&group, keys, keyScales, job->headDim, 0, positions, job->numberBytes);
      for (int i = 0; i < group.count; i++) group.factors[i] = soften(scores + TOGETHER * i, positions, group.count, valueScales);
      for (int column = 0; column < job->headDim; column += TOGETHER)
        sumSome(&group, strips + (intptr_t)column * job->slots * job->numberBytes, column, positions, job->numberBytes);
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

/* Makes values [D] whole numbers and their scale; they become what these stand for. */
INLINE float roundRow(float *x, int8_t *numbers, int headDim) {
  const float reach = reachOf(x, headDim) / 127, scale = reach < 1e-30f ? 1e-30f : reach;
  for (int i = 0; i < headDim; i += LANES) {
    const Ints whole = nearest(load(x + i) / splat(scale));
    storeBytes(numbers + i, whole);
    store(x + i, toFloats(whole) * splat(scale));
  }
  return scale;
}

/* Where a head's keys and values lie, and their scales. */
typedef struct {
  uint8_t *tiles, *strips;
  float *keyScales, *valueScales;
} Head;

/* Puts a key and a value [D] into a slot of a head; those become what is read there. */
INLINE void putRow(float *key, float *value, Head head, int slot, int slots, int headDim, const int numberBytes) {
  const int within = slot % TOGETHER;
  const intptr_t tile = (intptr_t)(slot - within) * headDim + within;
  if (numberBytes == ONE_BYTE) {
    int8_t numbers[MOST_CHANNELS];
    head.keyScales[slot] = roundRow(key, numbers, headDim);
    for (int i = 0; i < headDim; i++) ((int8_t *)head.tiles)[tile + (intptr_t)i * TOGETHER] = numbers[i];
    head.valueScales[slot] = roundRow(value, numbers, headDim);
    for (int i = 0; i < headDim; i += TOGETHER) memcpy(head.strips + ((intptr_t)i * slots + (intptr_t)slot * TOGETHER), numbers + i, TOGETHER);
  } else
    for (int i = 0; i < headDim; i += TOGETHER) {
      for (int lane = 0; lane < TOGETHER; lane++) ((float *)head.tiles)[tile + (intptr_t)(i + lane) * TOGETHER] = key[i + lane];
      memcpy((float *)head.strips + (intptr_t)i * slots + (intptr_t)slot * TOGETHER, value + i, sizeof(float) * TOGETHER);
    }
}

/* Puts rows of keys and values [rows, D] of one head into the slots from one on. A part is a row. */
JOB(putRows) {
  typedef struct {
    int32_t keys, values, tiles, strips, slot, slots, headDim, numberBytes, keyScales, valueScales;
  } Arguments;
  const Arguments *const job = (const Arguments *)values;
  const Head head = {AT(job->tiles), AT(job->strips), FLOATS(job->keyScales), FLOATS(job->valueScales)};
  for (int row = first; row < first + count; row++)
    putRow(FLOATS(job->keys) + (intptr_t)row * job->headDim, FLOATS(job->values) + (intptr_t)row * job->headDim, head, job->slot + row,
           job->slots, job->headDim, job->numberBytes);
}

/*
 * Rotates queries and keys of rows [(heads + 2 keyHeads) D], and puts keys and values into a slot each: tiles, strips, and `made`
 * [2, keyHeads, R, D]. A part is a row.
 */
JOB(place) {
  typedef struct {
    int32_t x, xBytes, rows, turns, turnBytes, heads, keyHeads, headDim, slotsOfRows, keys, values, headBytes, slots, made,
        numberBytes, keyScales, valueScales;
  } Arguments;
  const Arguments *const job = (const Arguments *)values;
  const int headDim = job->headDim;
  for (int row = first; row < first + count; row++) {
    float *const x = rowOf(AT(job->x), row, job->xBytes);
    const int slot = ((const int32_t *)AT(job->slotsOfRows))[row];
    rotate(x, rowOf(AT(job->turns), row, job->turnBytes), headDim, job->heads + job->keyHeads);
    for (int head = 0; head < job->keyHeads; head++) {
      float *const key = x + (job->heads + head) * headDim, *const value = key + job->keyHeads * headDim;
      const Head to = {headOf(AT(job->keys), head, job->headBytes), headOf(AT(job->values), head, job->headBytes),
                       scalesOf(AT(job->keyScales), head, job->slots, job->numberBytes),
                       scalesOf(AT(job->valueScales), head, job->slots, job->numberBytes)};
      putRow(key, value, to, slot, job->slots, headDim, job->numberBytes);
      float *const made = FLOATS(job->made) + ((intptr_t)head * job->rows + row) * headDim;
      memcpy(made, key, sizeof(float) * headDim);
      memcpy(made + (intptr_t)job->keyHeads * job->rows * headDim, value, sizeof(float) * headDim);
    }
  }
}

#endif
