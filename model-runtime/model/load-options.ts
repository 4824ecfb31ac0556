/** What a model is loaded with. */
import type { SessionOptions } from "../session";
import type { Int8Kernel } from "./linear";
import type { LowRank } from "./low-rank";

export interface LoadOptions extends SessionOptions {
  /** How int8 weights are multiplied in sessions; found by a short timing when undefined. */
  int8Kernel?: Int8Kernel;
  /** Whether the native kernels are used where there are some (`kernels/native.ts`). By default where `int8Kernel` is not given. */
  nativeKernels?: boolean;
  /** Whether texts of `createText` decode in a loop on the device; by default where that is not the CPU. */
  deviceLoop?: boolean;
  /**
   * Whether the latent transformer's 4-bit blocks are turned into int8 rows for runs of more than a few positions, which then take two
   * thirds of the time, and 40 MB more for a hundred million weights (`latent-rows.ts`). No by default.
   */
  int8Rows?: boolean;
  /** An adapter to use from the start. */
  adapter?: LowRank | null;
}
