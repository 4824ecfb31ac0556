import assert from "node:assert/strict";
import { processEnvironment, withoutServerVariables } from "../../server/process-environment";

describe("the server's environment", () => {
  it("is not that of a process which the server starts", () => {
    const others = { PATH: "/bin", HOME: "/root" };
    assert.deepEqual(withoutServerVariables({ ...others, ...processEnvironment }), others);
  });

  it("keeps what the user has set", () => {
    const own = { MALLOC_MMAP_THRESHOLD_: "131072" };
    assert.deepEqual(withoutServerVariables({ ...processEnvironment, ...own }), own);
  });
});
