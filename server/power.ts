/** Whether the machine runs on its battery, where the platform says so: work that nobody waits for is then left out. */
import { execFile } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";

/** How long an answer holds, ms. */
const HOLDS_MS = 60_000;

export class Power {
  private readonly folder: string;
  private readonly now: () => number;
  private readonly command: (file: string, args: string[]) => Promise<{ stdout: string }>;
  private askedAt = Number.NEGATIVE_INFINITY;
  private known = false;

  /** Other sources than the machine's are for tests. */
  constructor(
    private readonly platform: NodeJS.Platform = process.platform,
    sources: { folder?: string; now?: () => number; command?: Power["command"] } = {},
  ) {
    this.folder = sources.folder ?? "/sys/class/power_supply";
    this.now = sources.now ?? (() => performance.now());
    this.command = sources.command ?? promisify(execFile);
  }

  /** What was found last; asks again when that is old. False where nothing is known. */
  get isOnBattery(): boolean {
    if (this.now() - this.askedAt >= HOLDS_MS) {
      this.askedAt = this.now();
      void this.ask().then((isOnBattery) => {
        this.known = isOnBattery;
      });
    }
    return this.known;
  }

  /** Asks the platform: Linux by its power supplies, macOS by `pmset`; others say nothing without a program of their own. */
  async ask(): Promise<boolean> {
    try {
      if (this.platform === "linux") return this.supplyOnLinux();
      if (this.platform === "darwin") {
        const { stdout } = await this.command("/usr/bin/pmset", ["-g", "batt"]);
        return stdout.includes("'Battery Power'");
      }
      return false;
    } catch (error) {
      // A machine without power supplies to look at, or without the program: it does not say.
      if ((error as NodeJS.ErrnoException).code !== undefined) return false;
      throw error;
    }
  }

  private supplyOnLinux(): boolean {
    const read = (supply: string, name: string) => {
      try {
        return readFileSync(join(this.folder, supply, name), "utf8").trim();
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== undefined) return "";
        throw error;
      }
    };
    const supplies = readdirSync(this.folder);
    if (supplies.some((supply) => read(supply, "type") !== "Battery" && read(supply, "online") === "1")) return false;
    // A mouse has a battery too; its scope is its device.
    return supplies.some(
      (supply) =>
        read(supply, "type") === "Battery" &&
        read(supply, "scope") !== "Device" &&
        read(supply, "status") === "Discharging",
    );
  }
}
