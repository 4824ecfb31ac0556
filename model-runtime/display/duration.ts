/** A time that people read: `48 s`, `6 min`, `1 h 5 min`. */
export function duration(seconds: number): string {
  if (Math.round(seconds) < 60) return `${Math.max(0, Math.round(seconds))} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  return minutes % 60 === 0 ? `${minutes / 60} h` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
