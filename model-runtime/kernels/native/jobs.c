/*
 * The jobs of native-jobs.ts. This file is compiled once for each kind of processor that it can be fast on, with JOBS_VARIANT as its name;
 * what differs is how wide a vector is (vectors.h), and how products of bytes are summed (products.h). Results of a row do not depend on
 * the rows that it is run with.
 */
#include "jobs.h"

#include "attention.h"
#include "products.h"
#include "rows.h"

#define NAME_OF(variant) jobs_##variant
#define DEFINE(variant) const Variant NAME_OF(variant)
#define TEXT_OF(variant) #variant
#define TEXT(variant) TEXT_OF(variant)

DEFINE(JOBS_VARIANT) = {
    .name = TEXT(JOBS_VARIANT),
    .jobs = {multiplyBlocks, multiplyIntegers, score, softenJob, sum, attend, norm, roundBlocks, roundRows, swiGlu, add, multiplyFloats, place, estimate, softmax, putRows, limit, refine},
};
