/** Percent signs in URIs. */

/** A part of a URI as it was written; itself where that is no valid encoding. */
export function decodeURIComponentSafely(uri: string): string {
  try {
    return decodeURIComponent(uri);
  } catch (error) {
    if (error instanceof URIError) return uri;
    throw error;
  }
}
