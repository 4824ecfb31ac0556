/** What the benchmark ran on. */
import { readFileSync } from "node:fs";
import { arch, cpus, platform, totalmem, version } from "node:os";

export interface Machine {
  processor: string;
  cores: number;
  memoryGb: number;
  system: string;
  node: string;
  /** Instructions that decide the speed of matrix products, of those that the processor has. */
  instructions: string[];
}

const telling = ["avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "asimddp", "i8mm"];

export function describeMachine(): Machine {
  const flags = new Set(/^(?:flags|Features)\s*:(.*)$/m.exec(cpuInfo())?.[1].trim().split(/\s+/));
  return {
    processor: cpus()[0].model.trim(),
    cores: cpus().length,
    memoryGb: totalmem() / 2 ** 30,
    system: `${platform()} ${arch()}, ${version()}`,
    node: process.version,
    instructions: telling.filter((flag) => flags.has(flag)),
  };
}

function cpuInfo(): string {
  return platform() === "linux" ? readFileSync("/proc/cpuinfo", "utf8") : "";
}
