/**
 * Where a context was seen: buckets of the four latest addresses under a hash of the bytes before them. An address is only
 * a candidate: whoever reads it compares the text, so stale and colliding ones do no harm and need not be taken out.
 */
export const BUCKET = 4;

export class PositionTable {
  /** Addresses, latest first in each bucket; 0 is none. */
  readonly addresses: Uint32Array;
  private readonly scale: number;

  /** A table of about `capacity` addresses, 4 bytes each. */
  constructor(capacity: number) {
    const buckets = Math.max(16, Math.ceil(capacity / BUCKET));
    this.scale = buckets / 2 ** 32;
    this.addresses = new Uint32Array(buckets * BUCKET);
  }

  get bytes(): number {
    return this.addresses.byteLength;
  }

  /** Index of the first of the bucket's addresses. */
  bucket(hash: number): number {
    return (((hash >>> 0) * this.scale) | 0) * BUCKET;
  }

  insert(hash: number, address: number): void {
    const { addresses } = this;
    const at = this.bucket(hash);
    if (addresses[at] === address) return;
    addresses[at + 3] = addresses[at + 2];
    addresses[at + 2] = addresses[at + 1];
    addresses[at + 1] = addresses[at];
    addresses[at] = address;
  }

  clear(): void {
    this.addresses.fill(0);
  }
}
