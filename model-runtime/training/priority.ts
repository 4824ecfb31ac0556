/** Training gives way to whatever else the machine does. */
import { constants, setPriority } from "node:os";

export function setLowPriority(): void {
  try {
    setPriority(constants.priority.PRIORITY_LOW);
  } catch (error) {
    // A system that does not allow it trains at the usual priority.
    if ((error as NodeJS.ErrnoException).code === undefined) throw error;
  }
}
