import assert from "node:assert/strict";
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { writeOutputFolder } from "../../../model-runtime/checkpoint/output-folder";
import { checkRefused, namesIn, useTemporaryFolder } from "./fixture";

describe("writeOutputFolder", () => {
  const path = useTemporaryFolder();
  const fill = async (folder: string) => writeFileSync(join(folder, "new"), "");
  const fail = async (folder: string) => {
    writeFileSync(join(folder, "new"), "");
    throw new Error("no");
  };
  const write = (output: string, filling = fill) => writeOutputFolder(path("source"), output, filling);
  beforeEach(() => mkdirSync(path("source")));

  it("makes the folder, or adds to one", async () => {
    mkdirSync(path("there"));
    writeFileSync(path("there/old"), "");
    await write(path("out"));
    await write(path("there"));
    assert.deepEqual([namesIn(path("out")), namesIn(path("there"))], [["new"], ["new", "old"]]);
    assert.deepEqual(namesIn(path()), ["out", "source", "there"]);
  });

  it("leaves things as they were after a failure", async () => {
    mkdirSync(path("there"));
    writeFileSync(path("there/old"), "");
    await assert.rejects(write(path("out"), fail), /no/);
    await assert.rejects(write(path("there"), fail), /no/);
    assert.deepEqual([namesIn(path()), namesIn(path("there"))], [["source", "there"], ["old"]]);
  });

  it("refuses a folder that may not be written to", async () => {
    mkdirSync(path("closed"));
    chmodSync(path("closed"), 0o555);
    // To root every folder on a disk is open; the system's own are not.
    const closed = process.getuid?.() === 0 ? "/sys" : path("closed");
    await checkRefused(
      () => write(join(closed, "out")),
      /cannot be written \(no permission\); allow yourself to write there/,
    );
    await checkRefused(() => write(closed), /cannot be written \(no permission\); allow yourself to write there/);
  });

  it("refuses a file, a folder in nowhere, and the folder that is read", async () => {
    writeFileSync(path("file"), "");
    symlinkSync("source", path("link"));
    await checkRefused(() => write(path("file")), /file is a file; name a folder/);
    await checkRefused(() => write(path("file/out")), /folder is not there/);
    await checkRefused(() => write(path("none/out")), /folder is not there/);
    await checkRefused(() => write(path("source")), /is the checkpoint that is read/);
    await checkRefused(() => write(path("link")), /is the checkpoint that is read/);
    assert.deepEqual(namesIn(path()), ["file", "link", "source"]);
  });
});
