/**
 * Opens a real VS Code (code-server) in the browser, with the package installed and a sample folder, until Ctrl+C.
 * Argument: the package.
 */
import { spawn } from "node:child_process";
import { resolve } from "node:path";
import { installVsix, makeSandbox, startCodeServer, workbenchUrl } from "./workbench";

const sample = {
  "shapes.py": `import math


class Circle:
    def __init__(self, radius):
        self.radius = radius

    def area(self):
        return math.pi * self.radius ** 2


class Square:
    def __init__(self, side):
        
`,
  "lists.js": `function first(values) {
  return values[0];
}

function last(values) {
  return 
}
`,
};

async function main(vsix: string): Promise<void> {
  const sandbox = makeSandbox(sample, { "security.workspace.trust.enabled": false });
  installVsix(sandbox, vsix);
  const server = await startCodeServer(sandbox, { arguments: ["--disable-workspace-trust"] });
  const file = server.remoteUri(resolve(sandbox.workspace, "shapes.py"));
  const address = workbenchUrl(server, sandbox.workspace, [["openFile", file]]);
  console.log(`VS Code with BLT Code: ${address}`);
  console.log("Type in the file; Ctrl+C here ends it.");
  if (process.env.DISPLAY || process.env.WAYLAND_DISPLAY) openBrowser(address);
  await new Promise<void>((done) => {
    process.once("SIGINT", done);
    process.once("SIGTERM", done);
  });
  await server.stop();
  sandbox.remove();
}

function openBrowser(address: string): void {
  const browser = spawn("xdg-open", [address], { stdio: "ignore", detached: true });
  browser.on("error", () => console.log("No browser could be started: open the address in one."));
  browser.unref();
}

main(resolve(process.argv[2])).catch((error) => {
  console.error(error);
  process.exit(1);
});
