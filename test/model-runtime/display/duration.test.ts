import assert from "node:assert/strict";
import { duration } from "../../../model-runtime/display/duration";

describe("duration", () => {
  it("is in the unit that people use", () =>
    assert.deepEqual([-1, 0.4, 48, 59.7, 89, 90, 600, 3600, 3900].map(duration), [
      "0 s",
      "0 s",
      "48 s",
      "1 min",
      "1 min",
      "2 min",
      "10 min",
      "1 h",
      "1 h 5 min",
    ]));
});
