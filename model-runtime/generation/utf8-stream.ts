/** Text out of a stream of bytes. */

/** Bytes in, complete characters out; invalid bytes become U+FFFD as the WHATWG Encoding standard says. */
export interface Utf8Stream {
  /** Reads bytes; at most three of them, the beginning of a character, are held back. */
  push(bytes: Uint8Array): string;
  /** Ends the stream: U+FFFD for a character that was begun, else nothing. The next push begins a new stream. */
  flush(): string;
}

export function createUtf8Stream(): Utf8Stream {
  // A byte order mark is text like any other here: the bytes written to a file must be those of the model.
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  return {
    push: (bytes) => decoder.decode(bytes, { stream: true }),
    flush: () => decoder.decode(),
  };
}
