/*
 * Jobs for a team of threads (team.h), as native code. They work in the same memory as the kernels in WebAssembly: an address is a
 * distance from its beginning. Names and places of their arguments are those of `nativeJobArguments` (native-jobs.ts).
 */
#ifndef BLT_JOBS_H
#define BLT_JOBS_H

#include <stdint.h>

/* A job does `count` of its parts from `first` on; `thread` numbers who does it, the leader is 0. */
typedef void Job(uint8_t *memory, const int32_t *values, int first, int count, int thread);

/* One for each kind, in the order of `nativeJobNames`. */
enum { JOBS = 18 };

/* The same jobs for different processors (jobs.c), and how to find out what this one can run. */
typedef struct {
  const char *name;
  Job *jobs[JOBS];
} Variant;

#if defined(__x86_64__)
extern const Variant jobs_avx512vnni, jobs_avxvnni, jobs_avx512, jobs_avx2;
#elif defined(__aarch64__)
extern const Variant jobs_dotprod;
#endif

#endif
