import assert from "node:assert/strict";
import { decodeURIComponentSafely } from "../../server/uri";

describe("a part of a URI", () => {
  for (const [encoded, decoded] of [
    ["a%20b.ts", "a b.ts"],
    ["%E2%82%AC", "€"],
    ["100%", "100%"],
    ["%ff", "%ff"],
  ])
    it(`${encoded} is ${decoded}`, () => assert.equal(decodeURIComponentSafely(encoded), decoded));
});
