/** Characters in bytes that may be any. */

/** Length of the UTF-8 character that begins at `at` and ends by `end`; 0 when there is none (Unicode table 3-7). */
export function characterLength(bytes: Uint8Array, at: number, end: number): number {
  const lead = bytes[at];
  const length = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
  if (length === 0 || at + length > end) return 0;
  for (let i = 1; i < length; i++) if ((bytes[at + i] & 0xc0) !== 0x80) return 0;
  const second = bytes[at + 1];
  const overlong = (lead === 0xe0 && second < 0xa0) || (lead === 0xf0 && second < 0x90);
  const outside = (lead === 0xed && second >= 0xa0) || (lead === 0xf4 && second >= 0x90);
  return overlong || outside ? 0 : length;
}
