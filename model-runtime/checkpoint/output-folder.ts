/** A folder that appears whole or not at all. */
import { randomBytes } from "node:crypto";
import { realpathSync } from "node:fs";
import { mkdir, readdir, rename, rm } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { UserError } from "../errors";
import { fileStatus } from "./file-access";
import { diskError } from "./write-safetensors";

/**
 * Lets `fill` write files to a temporary folder and then gives them their place in `output`, which is made when it is
 * not there; after a failure nothing is left. `source` is the folder being read, which must be another one.
 */
export async function writeOutputFolder(
  source: string,
  output: string,
  fill: (folder: string) => Promise<void>,
): Promise<void> {
  const target = resolve(output);
  const status = fileStatus(target);
  if (status !== null && !status.isDirectory()) {
    throw new UserError(`${target} is a file; name a folder to write to.`);
  }
  if (status !== null && realpathSync(target) === realpathSync(source)) {
    throw new UserError(`${target} is the checkpoint that is read; name another folder to write to.`);
  }
  const suffix = `${randomBytes(6).toString("hex")}.partial`;
  // A folder already there may stand in one that cannot be written to.
  const staging =
    status === null ? join(dirname(target), `.${basename(target)}.${suffix}`) : join(target, `.${suffix}`);
  try {
    await mkdir(staging);
    try {
      await fill(staging);
      if (status === null) await rename(staging, target);
      else for (const file of await readdir(staging)) await rename(join(staging, file), join(target, file));
    } finally {
      await rm(staging, { recursive: true, force: true });
    }
  } catch (error) {
    // Whoever reads it knows the folder, not the place where it was to be made.
    if (error instanceof UserError) throw new UserError(error.message.replaceAll(staging, target));
    throw diskError(error, target);
  }
}
