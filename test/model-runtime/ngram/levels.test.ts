import assert from "node:assert/strict";
import { Candidates } from "../../../model-runtime/ngram/chains";
import { LEVEL_LENGTHS, Levels } from "../../../model-runtime/ngram/levels";

describe("Levels", () => {
  function levelsOf(places: [length: number, symbol: number][]) {
    const candidates = new Candidates(64);
    places.forEach(([length, symbol], i) => {
      candidates.lengths[i] = length;
      candidates.symbols[i] = symbol;
    });
    candidates.count = places.length;
    const levels = new Levels(64);
    // What an earlier list left behind must not count.
    levels.build(candidates);
    levels.build(candidates);
    return Array.from({ length: levels.count }, (_, i) => ({
      length: LEVEL_LENGTHS[levels.level[i]],
      places: levels.places[i],
      best: levels.best[i],
      counts: Object.fromEntries(
        Array.from({ length: levels.start[i + 1] - levels.start[i] }, (_, k) => [
          levels.symbols[levels.start[i] + k],
          levels.counts[levels.start[i] + k],
        ]),
      ),
    }));
  }

  it("hold the places with at least so many bytes in common, the longest first", () => {
    assert.deepEqual(
      levelsOf([
        [5, 1],
        [8, 2],
        [30, 3],
        [5, 1],
        [8, 1],
      ]),
      [
        { length: 22, places: 1, best: 3, counts: { 3: 1 } },
        { length: 7, places: 3, best: 3, counts: { 1: 1, 2: 1, 3: 1 } },
        { length: 5, places: 5, best: 1, counts: { 1: 3, 2: 1, 3: 1 } },
      ],
    );
  });

  it("are none without a place", () => {
    assert.deepEqual(levelsOf([]), []);
  });
});
