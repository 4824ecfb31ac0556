// Runs everything a change must pass: lint and types, the build, the TypeScript tests, the Python tests, those on a GPU, and the package
// in a real VS Code. `npm test -- PATTERN` runs only the TypeScript tests whose file path holds PATTERN. Ends with
// "N passed, N failed".
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import Mocha from "mocha";
import "tsx/cjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
process.chdir(root);
const pattern = process.argv[2];
// The same random cases in every run, so that a failure is about the change; run a file with mocha alone for others.
createRequire(import.meta.url)("fast-check").configureGlobal({ seed: 20261123 });
const total = { passed: 0, failed: 0, skipped: 0 };

if (pattern === undefined) {
  step("lint, format and types", "npm", ["run", "--silent", "check"]);
  step("build", "npm", ["run", "--silent", "build"]);
}
await typescriptTests();
if (pattern === undefined) {
  pythonTests();
  scriptTests("tests on a GPU", "test/gpu/run.mjs");
  scriptTests("the package in a real VS Code", "test/e2e/run.mjs");
}

console.log(`${total.passed} passed, ${total.failed} failed${total.skipped > 0 ? `, ${total.skipped} skipped` : ""}`);
process.exit(total.failed > 0 ? 1 : 0);

/** A command that passes or fails as one test. */
function step(title, command, args) {
  console.log(`\n# ${title}`);
  const { status } = spawnSync(command, args, { stdio: "inherit" });
  total[status === 0 ? "passed" : "failed"]++;
}

async function typescriptTests() {
  console.log("\n# TypeScript tests");
  const mocha = new Mocha({ timeout: 120000, forbidOnly: true });
  for (const folder of ["client", "server", "model-runtime", "media"]
    .map((name) => join("test", name))
    .filter(existsSync))
    for (const name of readdirSync(folder, { recursive: true, encoding: "utf8" }).sort()) {
      const file = join(folder, name);
      if (file.endsWith(".test.ts") && (pattern === undefined || file.includes(pattern)))
        mocha.addFile(join(root, file));
    }
  const { stats } = await new Promise((resolve) => {
    const runner = mocha.run(() => resolve(runner));
  });
  total.passed += stats.passes;
  total.failed += stats.failures;
  total.skipped += stats.pending;
}

/** Tests with a script of their own, which says itself why it skips them where it cannot run. */
function scriptTests(title, script) {
  console.log(`\n# ${title}`);
  const { status, stdout } = spawnSync(process.execPath, [script], {
    stdio: ["ignore", "pipe", "inherit"],
    encoding: "utf8",
    maxBuffer: 2 ** 28,
  });
  console.log(stdout);
  const counts = /^(\d+) passed, (\d+) failed, (\d+) skipped$/.exec(stdout.trim().split("\n").at(-1) ?? "");
  total.passed += Number(counts?.[1] ?? 0);
  total.skipped += Number(counts?.[3] ?? 0);
  total.failed += status === 0 ? Number(counts?.[2] ?? 1) : Math.max(1, Number(counts?.[2] ?? 1));
}

function pythonTests() {
  console.log("\n# Python tests");
  const setup = spawnSync("pretraining/setup-venv.sh", { stdio: "inherit" });
  if (setup.status !== 0) {
    total.failed++;
    return;
  }
  const { stdout } = spawnSync(".cache/venv/bin/python", ["-m", "pytest", "-q", "test/pretraining"], {
    stdio: ["ignore", "pipe", "inherit"],
    encoding: "utf8",
    maxBuffer: 2 ** 28,
  });
  console.log(stdout);
  const summary = stdout.trim().split("\n").at(-1) ?? "";
  const count = (word) => Number(new RegExp(`(\\d+) ${word}`).exec(summary)?.[1] ?? 0);
  const [passed, failed] = [count("passed"), count("failed") + count("errors?")];
  total.passed += passed;
  total.skipped += count("skipped");
  // A run that ended without a summary, or without a test, has failed.
  total.failed += passed + failed > 0 ? failed : 1;
}
