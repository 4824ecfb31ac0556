// The tests of models on a GPU: those that also run on the CPU (golden files, incremental equals fresh, the device loop,
// the lexicon), and results of both devices beside each other. `npm test` runs them too; it skips them and says why where
// there is no GPU. CUDA 13's libraries must be found by the system's loader (LD_LIBRARY_PATH).
// Usage: node test/gpu/run.mjs [MOCHA-OPTION...]; ends with "N passed, N failed, N skipped".
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "../..");
process.chdir(root);
const files = [
  "test/gpu/parity.test.ts",
  "test/gpu/precision.test.ts",
  "test/model-runtime/model/sequence.test.ts",
  "test/model-runtime/model/device-loop.test.ts",
  "test/model-runtime/model/lexicon-model.test.ts",
];
const withProvider = ["--require", "tsx/cjs", "--require", "./test/gpu/use-cuda-provider.cjs"];

const reason = skipReason();
if (reason !== null) {
  console.log(`The tests on a GPU are skipped: ${reason}\n0 passed, 0 failed, 1 skipped`);
  process.exit(0);
}
const { status, stdout } = await runMocha();
const count = (word) => Number(new RegExp(`^\\s*(\\d+) ${word}\\b`, "m").exec(stdout)?.[1] ?? 0);
const failed = status === 0 ? count("failing") : Math.max(1, count("failing"));
console.log(`${count("passing")} passed, ${failed} failed, ${count("pending")} skipped`);
process.exit(failed > 0 ? 1 : 0);

/** Each file in a process of its own: most of their time is waiting for the device. What they print is shown as it comes. */
async function runMocha() {
  const limits = ["--parallel", "--timeout", "300000"];
  const mocha = spawn(
    process.execPath,
    ["node_modules/mocha/bin/mocha.js", ...withProvider, ...limits, ...process.argv.slice(2), ...files],
    { stdio: ["ignore", "pipe", "inherit"], env: { ...process.env, BLT_TEST_DEVICE: "cuda" } },
  );
  let stdout = "";
  mocha.stdout.setEncoding("utf8").on("data", (text) => {
    stdout += text;
    process.stdout.write(text);
  });
  const [status] = await once(mocha, "close");
  return { status, stdout };
}

/** Why nothing can be tested on this machine; null when something can. */
function skipReason() {
  if (process.platform !== "linux" || process.arch !== "x64") return "the CUDA provider at hand is for Linux x64.";
  if (spawnSync("nvidia-smi", { stdio: "ignore" }).status !== 0) return "there is no NVIDIA GPU (no nvidia-smi).";
  const fetched = spawnSync("test/tools/fetch-cuda-provider.sh", { stdio: ["ignore", "inherit", "inherit"] });
  if (fetched.status !== 0) return "the CUDA provider could not be downloaded.";
  const probe = spawnSync(process.execPath, [...withProvider, "test/gpu/probe.ts"], { encoding: "utf8" });
  return probe.status === 0 ? probe.stdout.trim() || null : `the probe of the device failed: ${probe.stderr.trim()}`;
}
