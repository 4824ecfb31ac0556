/** HTML as text. */

/** Text that stands for itself in HTML, in an attribute's quotes too. */
export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** Bytes with a unit that people read: `812 bytes`, `23.4 kB`. */
export function byteCount(bytes: number): string {
  if (bytes < 1000) return `${bytes} ${bytes === 1 ? "byte" : "bytes"}`;
  if (bytes < 1e6) return `${(bytes / 1e3).toFixed(1)} kB`;
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

/** A whole number with separators between thousands. */
export function grouped(value: number): string {
  return value.toLocaleString("en-US");
}
