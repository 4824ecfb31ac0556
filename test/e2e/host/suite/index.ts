/**
 * What `extensionTestsPath` names: VS Code loads it in its extension host and calls `run`. The same under desktop VS
 * Code (@vscode/test-electron) and under code-server. Writes its report to the file `E2E_REPORT`.
 */
import { appendFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import Mocha from "mocha";

export async function run(): Promise<void> {
  const report = process.env.E2E_REPORT;
  if (report === undefined) throw new Error("E2E_REPORT is not set.");
  writeFileSync(report, "");
  const say = (line: string) => appendFileSync(report, `${line}\n`);

  class Reporter {
    constructor(runner: Mocha.Runner) {
      runner.on("pass", (test) => say(`  ✔ ${test.fullTitle()} (${test.duration}ms)`));
      runner.on("fail", (test, error) => say(`  ✘ ${test.fullTitle()}\n${error.stack ?? error}`));
      runner.on("pending", (test) => say(`  - ${test.fullTitle()}`));
      runner.on("end", () => {
        const { passes = 0, failures = 0, pending = 0 } = runner.stats ?? {};
        say(`${passes} passed, ${failures} failed, ${pending} skipped`);
      });
    }
  }
  const mocha = new Mocha({ timeout: 60_000, reporter: Reporter as unknown as Mocha.ReporterConstructor });
  for (const name of readdirSync(__dirname)) if (name.endsWith(".test.js")) mocha.addFile(join(__dirname, name));
  const failures = await new Promise<number>((done) => mocha.run(done));
  if (failures > 0) throw new Error(`${failures} tests failed`);
}
