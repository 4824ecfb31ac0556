/* See team.h. Words of the memory that all threads share lie where team.ts says. */
#include "team.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define PAUSE() _mm_pause()
#else
#define PAUSE() __asm__ __volatile__("yield")
#endif

#if defined(_WIN32)
#include <windows.h>
#define YIELD() SwitchToThread()
#else
#include <sched.h>
#define YIELD() sched_yield()
#endif

enum { TICKET = 0, DONE = 64, KIND = 128, PARTS = 132, SHARE = 136, VALUES = 140, ALONE = 144 };
enum { PART_BITS = 12, PART_MASK = (1 << PART_BITS) - 1 };
/* How often a helper looks for work at a call, some 0.2 ms; a leader whether the helpers are done, some 3 ms. */
enum { LOOKS = 5000, PATIENCE = 100000, JOBS_ALONE = 500 };
/* After so many looks a leader lets other threads have its core: the one that it waits for may be among them. */
enum { IMPATIENT = 1024 };

static int32_t *word(uint8_t *memory, int address) { return (int32_t *)(memory + address); }
static int32_t get(uint8_t *memory, int address) { return __atomic_load_n(word(memory, address), __ATOMIC_SEQ_CST); }
static void set(uint8_t *memory, int address, int32_t value) { __atomic_store_n(word(memory, address), value, __ATOMIC_SEQ_CST); }

/* Takes some of the parts that are left and does them; how many, 0 where another thread was quicker. */
static int takeParts(const Variant *variant, uint8_t *memory, int32_t ticket, int thread) {
  const int part = ticket & PART_MASK, share = get(memory, SHARE);
  const int count = (get(memory, PARTS) - part + share - 1) / share;
  int32_t expected = ticket;
  if (!__atomic_compare_exchange_n(word(memory, TICKET), &expected, ticket + count, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) return 0;
  variant->jobs[get(memory, KIND)](memory, (const int32_t *)(memory + (uint32_t)get(memory, VALUES)), part, count, thread);
  return count;
}

void lead(const Variant *variant, uint8_t *memory, int kind, int values, int parts, int isAlone) {
  const int alone = get(memory, ALONE);
  if (alone > 0 && !isAlone) set(memory, ALONE, alone - 1);
  if (isAlone || alone > 0) {
    variant->jobs[kind](memory, (const int32_t *)(memory + (uint32_t)values), 0, parts, 0);
    return;
  }
  set(memory, KIND, kind);
  set(memory, VALUES, values);
  set(memory, PARTS, parts);
  set(memory, DONE, 0);
  /* Closed since the last job, all lower bits set: one more begins the next job at its first part. */
  int32_t ticket = (int32_t)((uint32_t)(get(memory, TICKET) | PART_MASK) + 1);
  set(memory, TICKET, ticket);
  int own = 0;
  while ((ticket & PART_MASK) < parts) {
    own += takeParts(variant, memory, ticket, 0);
    ticket = get(memory, TICKET);
  }
  int looks = 0;
  for (; get(memory, DONE) != parts - own; looks++) {
    if (looks % IMPATIENT == IMPATIENT - 1) YIELD();
    else PAUSE();
  }
  set(memory, TICKET, ticket | PART_MASK);
  if (looks > PATIENCE) set(memory, ALONE, JOBS_ALONE);
}

void leadAll(const Variant *variant, uint8_t *memory, const Entry *entries, int count) {
  for (const Entry *entry = entries; entry < entries + count; entry++)
    lead(variant, memory, entry->kind, entry->values, entry->parts, entry->isAlone);
}

void help(const Variant *variant, uint8_t *memory, int thread) {
  for (int looks = 0; looks < LOOKS; looks++) {
    const int32_t ticket = get(memory, TICKET);
    if ((ticket & PART_MASK) < get(memory, PARTS)) {
      const int count = takeParts(variant, memory, ticket, thread);
      if (count > 0) __atomic_add_fetch(word(memory, DONE), count, __ATOMIC_SEQ_CST);
    } else PAUSE();
  }
}
