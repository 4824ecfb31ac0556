/**
 * Runs the suite in code-server's own extension host, through VS Code's extensionDevelopmentPath and
 * extensionTestsPath: what @vscode/test-electron does, without Electron.
 * Arguments: the unpacked extension's folder, the bundled suite's folder.
 */
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { type CodeServer, makeSandbox, startBrowser, startCodeServer, type View, workbenchUrl } from "../workbench";

const limitMs = 900_000;

async function main(extension: string, suite: string): Promise<boolean> {
  const sandbox = makeSandbox({ "shapes.py": "import math\n\n" }, { "security.workspace.trust.enabled": false });
  const report = join(sandbox.root, "report.txt");
  const log: string[] = [];
  let server: CodeServer | undefined;
  let view: View | undefined;
  try {
    server = await startCodeServer(sandbox, {
      environment: { E2E_REPORT: report },
      // A built VS Code obeys the payload of a test only with this option.
      arguments: ["--disable-workspace-trust", "--vscode-option", "enable-smoke-test-driver"],
    });
    view = await startBrowser();
    const { page, browser } = view;
    const exitCode = new Promise<number>((done, failed) => {
      const timer = setTimeout(() => failed(new Error(`The suite did not end within ${limitMs} ms.`)), limitMs);
      page.on("crash", () => failed(new Error("The page crashed.")));
      browser.on("disconnected", () => failed(new Error("The browser is gone.")));
      void page.exposeFunction("codeAutomationExit", (code: number) => {
        clearTimeout(timer);
        done(code);
      });
    });
    // Why a suite cannot be loaded is only said here.
    await page.exposeFunction("codeAutomationLog", (level: string, args: unknown[]) => {
      log.push(`[${level}] ${args.join(" ")}`);
    });
    await page.goto(
      workbenchUrl(server, sandbox.workspace, [
        ["extensionDevelopmentPath", server.remoteUri(extension)],
        ["extensionTestsPath", server.remoteUri(join(suite, "index.js"))],
      ]),
    );
    const code = await exitCode;
    const text = existsSync(report) ? readFileSync(report, "utf8") : "";
    console.log(text === "" ? `The suite did not start.\n${log.slice(-40).join("\n")}` : text);
    // Exit code and report must agree.
    return code === 0 && /^[1-9]\d* passed, 0 failed/m.test(text);
  } finally {
    await view?.browser.close();
    await server?.stop();
    sandbox.remove();
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
