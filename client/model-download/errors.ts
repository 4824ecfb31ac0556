/** What can go wrong with a download, each in one sentence that says what to do. */

/** Told to the user as it is. `kind` says what the user can do at once: enter a token, open the model's page, or neither. */
export class DownloadError extends Error {
  constructor(
    readonly kind: "token" | "licence" | "other",
    sentence: string,
  ) {
    super(sentence);
  }
}

/** Worth another try after a pause: the connection, or the other side for a moment. */
export class TransientError extends Error {
  constructor(
    message: string,
    /** How long the other side wants to be left alone, ms. */
    readonly retryAfterMs = 0,
  ) {
    super(message);
  }
}

/** The error for an answer that is no success. `what` names what was asked for. */
export function errorOf(response: Response, repository: string, what: string, hasToken: boolean): Error {
  const { status } = response;
  if (status === 401)
    return new DownloadError(
      "token",
      hasToken
        ? "Hugging Face does not accept the access token (401); make a new one with the right to read gated repositories."
        : `${repository} is given to people with an account only (401); enter an access token of Hugging Face.`,
    );
  if (status === 403)
    return new DownloadError(
      "licence",
      `Your account has no access to ${repository} (403); accept its licence on its page on Hugging Face, and use a token that may read gated repositories.`,
    );
  if (status === 404)
    return new DownloadError("other", `${what} is not there (404); the model may have been moved or renamed.`);
  if (status === 408 || status === 429 || status >= 500) {
    const seconds = Number(response.headers.get("retry-after"));
    return new TransientError(`${what}: the server answered ${status}`, seconds > 0 ? seconds * 1000 : 0);
  }
  return new DownloadError("other", `${what} cannot be downloaded: the server answered ${status}; try again later.`);
}

/** An error of the file system as a sentence about `folder`; others as they are. */
export function diskError(error: unknown, folder: string): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (code === "ENOSPC" || code === "EDQUOT")
    return new DownloadError(
      "other",
      `The disk with ${folder} is full; make room and start the download again, it goes on where it ended.`,
    );
  if (code === "EACCES" || code === "EPERM" || code === "EROFS")
    return new DownloadError("other", `${folder} cannot be written (${code}); give yourself the right to write there.`);
  if (code === "EEXIST" || code === "ENOTDIR")
    return new DownloadError(
      "other",
      `${folder} cannot be made, since a file stands in its place; remove or rename that.`,
    );
  return error;
}
