/** Ids of the byte vocabulary (blt-spec section 2): byte b is id b + 4, below are the special ids. */

export const PADDING = 0;
export const BOS = 1;
export const EOS = 2;
/** Marks the start of a token in mode `bpe`. */
export const BPE_DELIMITER = 3;
/** What is added to a byte to get its id. */
export const BYTE_OFFSET = 4;
export const VOCABULARY_SIZE = 260;

/** Ids of a document: BOS and its bytes; EOS only where the end of the document is part of the text. */
export function encode(bytes: Uint8Array, options: { eos?: boolean } = {}): Uint16Array {
  const ids = new Uint16Array(bytes.length + 1 + (options.eos ? 1 : 0));
  ids[0] = BOS;
  for (let i = 0; i < bytes.length; i++) ids[i + 1] = bytes[i] + BYTE_OFFSET;
  if (options.eos) ids[ids.length - 1] = EOS;
  return ids;
}

/** Bytes of a run of ids; special ids carry none and are dropped. */
export function decode(ids: ArrayLike<number>): Uint8Array {
  const bytes: number[] = [];
  for (let i = 0; i < ids.length; i++) if (ids[i] >= BYTE_OFFSET) bytes.push(ids[i] - BYTE_OFFSET);
  return Uint8Array.from(bytes);
}
