import type { PatchingConfig } from "../checkpoint/config";
export interface PatchRule { step(id: number, entropy: number): boolean; snapshot(): number[]; restore(s: number[]): void }
export function resetsContext(config: PatchingConfig, id: number): boolean { return config.newlineReset && id === 14; }
export function createPatchRule(config: PatchingConfig): PatchRule {
  let i = 0, len = 0;
  return {
    step(_id, h) { len++; const m = config.maxPatchLength; const start = i === 0 || Math.fround(h) > Math.fround(config.threshold) || (m !== null && len >= m); i++; if (start) len = 0; return start; },
    snapshot: () => [i, len], restore(s) { [i, len] = s; },
  };
}
