/** How the model is, as the LSP thread knows it. */

/** `fraction`: share of loading that is done; `notice`: why something else than what was asked for is in use; null if nothing. */
export type HostState =
  | { kind: "unloaded" }
  | { kind: "loading"; fraction: number }
  | ({ kind: "ready" | "working"; device: string; kernel: string | null; notice: string | null } & AdapterState)
  | { kind: "problem"; sentence: string };

/** The adapter in use after it was asked for. */
export interface AdapterState {
  /** Folder of the one in use; null for none. */
  adapter: string | null;
  /** Why the one that was asked for is not used; else null. */
  adapterNotice: string | null;
}
