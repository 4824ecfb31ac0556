/** An edit in bytes: `deleted` ones from the offset `start` on make room for `inserted`. */
export interface Edit {
  start: number;
  deleted: number;
  inserted: Uint8Array;
}
