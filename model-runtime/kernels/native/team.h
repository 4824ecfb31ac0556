/* A team of threads that do the parts of a job together (team.ts, which has the same in WebAssembly and says why it is done so). */
#ifndef BLT_TEAM_H
#define BLT_TEAM_H

#include "jobs.h"

/* Does all parts of a job of a kind, `values` the address of its arguments, alone or with the helpers. */
void lead(const Variant *variant, uint8_t *memory, int kind, int values, int parts, int isAlone);

/* As an entry of a list: what `lead` takes. */
typedef struct {
  int32_t kind, values, parts, isAlone;
} Entry;

/* Does the jobs of a list one after the other. */
void leadAll(const Variant *variant, uint8_t *memory, const Entry *entries, int count);

/* Takes parts of jobs for a while: not for ever, because a thread that is to end does so between two calls. */
void help(const Variant *variant, uint8_t *memory, int thread);

#endif
