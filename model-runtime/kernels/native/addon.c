/* The door for JavaScript (native.ts): picks the variant of the jobs that this processor runs fastest. */
#include <node_api.h>

#include "team.h"

#if defined(__linux__)
#include <sys/auxv.h>
#include <sys/mman.h>
#elif defined(_WIN32)
#include <windows.h>
#endif
#if defined(__x86_64__)
#include <cpuid.h>
#endif

/* What this processor can run, the fastest first; nothing where it, or the operating system, has not the instructions that the jobs are compiled for. */
enum { MOST_VARIANTS = 4 };
static const Variant *variants[MOST_VARIANTS];
/* The one in use. */
static const Variant *variant;

static void findVariants(void) {
  int count = 0;
#if defined(__x86_64__)
  /* By hand: what `__builtin_cpu_supports` reads is missing where clang links with Microsoft's libraries. */
  unsigned a, b, c, d, saved, rest;
  const unsigned needed = bit_FMA | bit_F16C | bit_OSXSAVE;
  if (!__get_cpuid(1, &a, &b, &c, &d) || (c & needed) != needed) return;
  /* Which registers the operating system keeps for each thread: vectors of 256 bits, of 512 bits with their masks. */
  __asm__ __volatile__("xgetbv" : "=a"(saved), "=d"(rest) : "c"(0));
  const unsigned saved256 = 0x06, saved512 = 0xe6;
  if ((saved & saved256) != saved256 || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & bit_AVX2)) return;
  const unsigned avx512 = bit_AVX512F | bit_AVX512BW | bit_AVX512VL | bit_AVX512DQ;
  const int hasAvx512 = (saved & saved512) == saved512 && (b & avx512) == avx512;
  if (hasAvx512 && c & bit_AVX512VNNI) variants[count++] = &jobs_avx512vnni;
  if (__get_cpuid_count(7, 1, &a, &b, &c, &d) && a & bit_AVXVNNI) variants[count++] = &jobs_avxvnni;
  if (hasAvx512) variants[count++] = &jobs_avx512;
  variants[count++] = &jobs_avx2;
#elif defined(__APPLE__)
  /* Every Mac with this processor has them. */
  variants[count++] = &jobs_dotprod;
#elif defined(__linux__)
  /* HWCAP_ASIMDDP. */
  if (getauxval(AT_HWCAP) & (1 << 20)) variants[count++] = &jobs_dotprod;
#elif defined(_WIN32)
  /* PF_ARM_V82_DP_INSTRUCTIONS_AVAILABLE. */
  if (IsProcessorFeaturePresent(43)) variants[count++] = &jobs_dotprod;
#endif
  (void)count;
}

/* (memory, kind, values, parts, isAlone) */
static napi_value leadCall(napi_env env, napi_callback_info info) {
  size_t count = 5;
  napi_value given[5];
  void *memory;
  int32_t numbers[4] = {0};
  napi_get_cb_info(env, info, &count, given, NULL, NULL);
  napi_get_value_external(env, given[0], &memory);
  for (int i = 0; i < 4; i++) napi_get_value_int32(env, given[i + 1], numbers + i);
  lead(variant, memory, numbers[0], numbers[1], numbers[2], numbers[3]);
  return NULL;
}

/* (memory, address of a list of jobs, their number) */
static napi_value leadAllCall(napi_env env, napi_callback_info info) {
  size_t count = 3;
  napi_value given[3];
  void *memory;
  double address = 0;
  int32_t entries = 0;
  napi_get_cb_info(env, info, &count, given, NULL, NULL);
  napi_get_value_external(env, given[0], &memory);
  napi_get_value_double(env, given[1], &address);
  napi_get_value_int32(env, given[2], &entries);
  leadAll(variant, memory, (const Entry *)((uint8_t *)memory + (uintptr_t)address), entries);
  return NULL;
}

/* (memory, thread) */
static napi_value helpCall(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value given[2];
  void *memory;
  int32_t thread = 0;
  napi_get_cb_info(env, info, &count, given, NULL, NULL);
  napi_get_value_external(env, given[0], &memory);
  napi_get_value_int32(env, given[1], &thread);
  help(variant, memory, thread);
  return NULL;
}

/*
 * (memory, address, bytes) -> nothing: what is written there next lies in large pages where the system has them, so that a processor
 * reads it ahead beyond 4 kB and looks up fewer of them.
 */
static napi_value useLargePages(napi_env env, napi_callback_info info) {
  size_t count = 3;
  napi_value given[3];
  void *memory;
  double numbers[2] = {0};
  napi_get_cb_info(env, info, &count, given, NULL, NULL);
  napi_get_value_external(env, given[0], &memory);
  for (int i = 0; i < 2; i++) napi_get_value_double(env, given[i + 1], numbers + i);
#if defined(__linux__)
  const uintptr_t large = 2 << 20, first = (uintptr_t)memory + (uintptr_t)numbers[0];
  const uintptr_t from = (first + large - 1) & ~(large - 1), to = (first + (uintptr_t)numbers[1]) & ~(large - 1);
  if (from < to) madvise((void *)from, to - from, MADV_HUGEPAGE);
#endif
  return NULL;
}

/* (bytes: Uint8Array from the beginning of a memory that stays where it is) -> what the other functions take for it */
static napi_value memoryOf(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value given[1], memory;
  void *data = NULL;
  napi_get_cb_info(env, info, &count, given, NULL, NULL);
  if (napi_get_typedarray_info(env, given[0], NULL, NULL, &data, NULL, NULL) != napi_ok || data == NULL) return NULL;
  napi_create_external(env, data, NULL, NULL, &memory);
  return memory;
}

/*
 * (place) of a variant among those that can be run: all threads use it from their next call on, so no team may be at work. Says its name;
 * undefined for none.
 */
static napi_value useCall(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value given[1], name = NULL;
  int32_t place = -1;
  napi_get_cb_info(env, info, &count, given, NULL, NULL);
  napi_get_value_int32(env, given[0], &place);
  if (place < 0 || place >= MOST_VARIANTS || variants[place] == NULL) return NULL;
  variant = variants[place];
  napi_create_string_utf8(env, variant->name, NAPI_AUTO_LENGTH, &name);
  return name;
}

NAPI_MODULE_INIT() {
  napi_value function, name;
  /* Once for all threads that load this. */
  if (variant == NULL) {
    findVariants();
    variant = variants[0];
  }
  napi_create_string_utf8(env, variant == NULL ? "" : variant->name, NAPI_AUTO_LENGTH, &name);
  napi_set_named_property(env, exports, "variant", name);
  const struct {
    const char *name;
    napi_callback call;
  } functions[] = {{"lead", leadCall}, {"leadAll", leadAllCall}, {"help", helpCall}, {"useLargePages", useLargePages}, {"memoryOf", memoryOf}, {"use", useCall}};
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    napi_create_function(env, functions[i].name, NAPI_AUTO_LENGTH, functions[i].call, NULL, &function);
    napi_set_named_property(env, exports, functions[i].name, function);
  }
  return exports;
}
