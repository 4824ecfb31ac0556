/** Which devices onnxruntime can use here, and the reason in one sentence when it cannot. */
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";

export const devices = ["auto", "cpu", "cuda", "webgpu", "dml", "coreml"] as const;
export type Device = (typeof devices)[number];
/** A device as a session uses it. */
export type ResolvedDevice = Exclude<Device, "auto">;

/**
 * Makes products of float32 numbers exact on NVIDIA GPUs, whose libraries otherwise round their factors to 10 bits (TF32),
 * which moves logits by some thousandths. The provider's own option for that cannot be set from Node; the libraries read
 * this variable when they are loaded. Who wants the faster products sets it to 1.
 * @returns whether products are to be exact
 */
export function keepFloat32Exact(environment: NodeJS.ProcessEnv = process.env): boolean {
  environment.NVIDIA_TF32_OVERRIDE ??= "0";
  return environment.NVIDIA_TF32_OVERRIDE === "0";
}

/**
 * Why the CUDA provider's library cannot be loaded, from the system's own loader; null when it can.
 * onnxruntime itself only says that it failed.
 */
export function cudaLibraryProblem(folder: string = nativeFolder()): string | null {
  const library = join(folder, cudaLibraryName());
  if (!existsSync(library))
    return `onnxruntime's CUDA provider is no part of the package: put ${cudaLibraryName()} into ${folder}`;
  try {
    process.dlopen({ exports: {} }, library);
  } catch (error) {
    const reason = String((error as Error).message).split("\n")[0];
    // A library that loads but is no Node module says so: for us that is success.
    if (/did not self-register|Module version mismatch/.test(reason)) return null;
    // Symbols of the host library are bound when onnxruntime loads the provider, not here.
    if (/undefined symbol: Provider_GetHost/.test(reason)) return null;
    const missing = /^(lib[^:\s]+): cannot open shared object file/.exec(reason);
    return missing ? `${missing[1]} was not found (the CUDA 13 libraries are needed)` : reason;
  }
  return null;
}

/** Why a provider did not start, in the driver's words or in the last clause of onnxruntime's message, without source locations. */
export function providerReason(message: string): string {
  const cuda = /CUDA failure \d+: (.+?)\s*;/.exec(message);
  if (cuda) return cuda[1];
  const line =
    message
      .split("\n")
      .map((part) => part.trim())
      .filter(Boolean)[0] ?? "it failed to start";
  return line
    .replace(/^.*\bwas false\. /, "")
    .replace(/^\S+\.(cc|h):\d+ .*?\) /, "")
    .replace(/[.;\s]+$/, "");
}

/** Folder of onnxruntime's native libraries, where a provider's library must lie. */
export function nativeFolder(): string {
  const root = dirname(require.resolve("onnxruntime-node/package.json"));
  return join(root, "bin", "napi-v6", process.platform, process.arch);
}

function cudaLibraryName(): string {
  return process.platform === "win32" ? "onnxruntime_providers_cuda.dll" : "libonnxruntime_providers_cuda.so";
}
