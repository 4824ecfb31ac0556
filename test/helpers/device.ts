/** Where the tests of models run: on the CPU, or on the device for which `test/gpu/run.mjs` runs them again. */
import type { ResolvedDevice } from "../../model-runtime/device";

export const testDevice = (process.env.BLT_TEST_DEVICE ?? "cpu") as ResolvedDevice;

/** Random cases of a property: fewer on a GPU, where each run of a small network waits for the device. */
export function cases(onCpu: number): number {
  return testDevice === "cpu" ? onCpu : Math.ceil(onCpu / 4);
}
