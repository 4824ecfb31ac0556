import assert from "node:assert/strict";
import { DownloadError, diskError } from "../../../client/model-download/errors";

describe("disk errors", () => {
  function check(code: string, sentence: RegExp): void {
    const error = diskError(Object.assign(new Error(`${code}: something`), { code }), "/models/blt-1b");
    assert.ok(error instanceof DownloadError);
    assert.match(error.message, sentence);
  }

  it("say that the disk is full", () => {
    for (const code of ["ENOSPC", "EDQUOT"]) check(code, /^The disk with \/models\/blt-1b is full; make room/);
  });
  it("say that the folder cannot be written", () => {
    for (const code of ["EACCES", "EPERM", "EROFS"])
      check(code, new RegExp(`^/models/blt-1b cannot be written \\(${code}\\); give yourself the right`));
  });
  it("say that a file is in the way", () => {
    for (const code of ["EEXIST", "ENOTDIR"]) check(code, /^\/models\/blt-1b cannot be made, since a file stands/);
  });
  it("are others as they are", () => {
    const error = new Error("another");
    assert.equal(diskError(error, "/models"), error);
  });
});
