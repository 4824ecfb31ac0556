/**
 * What a person did or gave that cannot work: one sentence that names the thing, the place and what to do.
 * The edges (command line, server) show `message` as it is and never a stack; every other error is a defect.
 */
export class UserError extends Error {
  override name = "UserError";
}
