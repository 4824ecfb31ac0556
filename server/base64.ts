/** Numbers as text for messages: base64 of their little-endian bytes. */
export function base64(numbers: Float32Array | Uint32Array): string {
  return Buffer.from(numbers.buffer, numbers.byteOffset, numbers.byteLength).toString("base64");
}
