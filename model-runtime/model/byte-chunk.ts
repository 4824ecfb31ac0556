/**
 * Bytes that go through a byte network in one run: large enough for full speed, small enough to stop soon and to need little memory. Byte networks
 * attend to a window, so that a row costs, and scores take, the more the larger a run is.
 */
export const BYTE_CHUNK = 128;

/** Bytes of a run at most: a short rest joins the chunk before it, as a run of a few rows costs much more a row. */
export const MOST_BYTES = 1.25 * BYTE_CHUNK;
