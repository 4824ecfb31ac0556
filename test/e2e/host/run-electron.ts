/**
 * Runs the same suite under desktop VS Code, where there is one. On Linux without a display: xvfb-run -a.
 * Environment: VSCODE_EXECUTABLE, an installed VS Code; or VSCODE_DOWNLOAD, a version that is downloaded ("stable").
 * Arguments: the unpacked extension's folder, the bundled suite's folder.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { runTests } from "@vscode/test-electron";
import { makeSandbox } from "../workbench";

async function main(extension: string, suite: string): Promise<boolean> {
  const { VSCODE_EXECUTABLE: vscodeExecutablePath, VSCODE_DOWNLOAD: version } = process.env;
  const sandbox = makeSandbox({ "shapes.py": "import math\n\n" }, {});
  // Short: the path of VS Code's socket must stay under 104 characters.
  const user = mkdtempSync(join(tmpdir(), "bu-"));
  const report = join(sandbox.root, "report.txt");
  try {
    const code = await runTests({
      ...(vscodeExecutablePath === undefined ? { version } : { vscodeExecutablePath }),
      extensionDevelopmentPath: extension,
      extensionTestsPath: join(suite, "index.js"),
      extensionTestsEnv: { E2E_REPORT: report },
      launchArgs: [
        ...[sandbox.workspace, "--user-data-dir", user, "--extensions-dir", sandbox.extensions],
        ...["--disable-workspace-trust", "--skip-welcome", "--skip-release-notes", "--disable-gpu"],
        ...["--no-sandbox", "--disable-updates", "--disable-telemetry"],
      ],
    });
    const text = existsSync(report) ? readFileSync(report, "utf8") : "";
    console.log(text === "" ? "The suite did not start." : text);
    return code === 0 && /^[1-9]\d* passed, 0 failed/m.test(text);
  } finally {
    sandbox.remove();
    rmSync(user, { recursive: true, force: true });
  }
}

const [extension, suite] = process.argv.slice(2);
main(resolve(extension), resolve(suite)).then(
  (passed) => process.exit(passed ? 0 : 1),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
