import assert from "node:assert/strict";
import fc from "fast-check";
import { BOS, BYTE_OFFSET, EOS } from "../../../model-runtime/ids";
import { History } from "../../../model-runtime/ngram/history";
import { bytesOf, historyOf, placesFound, placesIn } from "./samples";

describe("History", () => {
  const found = (history: History) => placesFound((into) => history.collect(into));

  it("finds the earlier places of its own context", () => {
    const text = bytesOf("abcd1abcd2abcd");
    // The place behind the text's end is the one that is predicted: nothing stands there yet.
    const expected = placesIn([text], text, 4).filter((place) => !place.startsWith("256:"));
    assert.deepEqual(found(historyOf(text)), expected);
    assert.deepEqual(expected, ["49:4", "50:4"]);
  });

  it("is after appending and truncating what a fresh one is", () => {
    const ids = fc.array(fc.constantFrom(101, 102, 103, 101, 102, BOS, EOS), { maxLength: 40 });
    const steps = fc.array(fc.record({ keep: fc.nat(), ids }), { maxLength: 8 });
    fc.assert(
      fc.property(steps, (all) => {
        const history = new History();
        let expected: number[] = [];
        for (const { keep, ids: more } of all) {
          const length = keep % (expected.length + 1);
          history.truncate(length);
          expected = [...expected.slice(0, length), ...more];
          for (const id of more) history.push(id);
        }
        const fresh = new History();
        for (const id of expected) fresh.push(id);
        assert.equal(history.length, expected.length);
        assert.deepEqual(found(history), found(fresh));
        assert.deepEqual(found(history.fork()), found(fresh));
        assert.equal(history.end, fresh.end);
        assert.deepEqual(history.bytes.slice(0, history.end), fresh.bytes.slice(0, fresh.end));
      }),
      { numRuns: 300 },
    );
  });

  it("sees nothing from behind a special id", () => {
    const history = historyOf("12abcdE");
    for (const text of ["ab", "cdX", "abcd"]) {
      history.push(EOS);
      for (const byte of bytesOf(text)) history.push(byte + BYTE_OFFSET);
    }
    // Four bytes are what the texts have in common: `12` before them is not the beginning of a text, and `ab`, `cd` are two.
    assert.deepEqual(found(history), ["69:4"]);
  });

  it("grows beyond its first size", () => {
    const text = bytesOf("some words ".repeat(2000));
    const history = historyOf(text);
    assert.equal(history.length, text.length + 1);
    assert.equal(found(history).length, 128);
    history.truncate(1);
    assert.deepEqual(found(history), []);
  });
});
