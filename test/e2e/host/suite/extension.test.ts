/** The extension through VS Code's own API. What the model says is not foreseen, only that it says something. */
import assert from "node:assert/strict";
import * as vscode from "vscode";

const id = "blt-code.blt-code";

describe("the extension in VS Code", () => {
  before(async () => {
    const extension = vscode.extensions.getExtension(id);
    assert.ok(extension !== undefined, `${id} is installed`);
    await extension.activate();
    // A small model is sure of little.
    await setting("minConfidence", 0);
  });
  after(() => setting("minConfidence", undefined));

  it("registers each command that it contributes", async () => {
    const registered = await vscode.commands.getCommands(true);
    const contributed: { command: string }[] = vscode.extensions.getExtension(id)?.packageJSON.contributes.commands;
    assert.ok(contributed.length > 0);
    for (const { command } of contributed) assert.ok(registered.includes(command), command);
  });

  it("takes no key that VS Code uses", async () => {
    const document = await vscode.workspace.openTextDocument(
      vscode.Uri.parse("vscode://defaultsettings/keybindings.json"),
    );
    const text = document.getText().replace(/^\s*\/\/.*$/gm, "");
    const bindings: { key: string; command: string }[] = JSON.parse(
      text.slice(text.indexOf("["), text.lastIndexOf("]") + 1),
    );
    assert.ok(bindings.some(({ command }) => command === "editor.action.inlineSuggest.commit"));
    const ours = bindings.filter(({ command }) => command.startsWith("blt."));
    const [{ key }, ...more] = ours;
    assert.deepEqual(more, []);
    const others = bindings.filter((binding) => binding.key === key && !binding.command.startsWith("blt."));
    assert.deepEqual(others, []);
  });

  it("completes a file of the folder", async () => {
    const [folder] = vscode.workspace.workspaceFolders ?? [];
    const document = await vscode.workspace.openTextDocument(vscode.Uri.joinPath(folder.uri, "shapes.py"));
    await checkCompleted(document);
  });

  it("completes an untitled document", async () => {
    await checkCompleted(await vscode.workspace.openTextDocument({ language: "python", content: "import math\n\n" }));
  });

  it("completes a notebook's cell", async () => {
    const cell = new vscode.NotebookCellData(vscode.NotebookCellKind.Code, "import math\n\n", "python");
    const notebook = await vscode.workspace.openNotebookDocument("jupyter-notebook", new vscode.NotebookData([cell]));
    await vscode.window.showNotebookDocument(notebook);
    await vscode.commands.executeCommand("notebook.cell.edit");
    const document = notebook.cellAt(0).document;
    await until("the cell has an editor", () => vscode.window.activeTextEditor?.document === document);
    await checkCompleted(document);
  });

  it("inserts nothing when it is off, and goes on when it is on", async () => {
    const document = await vscode.workspace.openTextDocument({ language: "python", content: "import math\n\n" });
    await setting("enable", false);
    await typeAtEnd(document, "class Circle:\n    def __init__(self, ");
    const before = document.getText();
    await trigger();
    await sleep(1500);
    await vscode.commands.executeCommand("editor.action.inlineSuggest.commit");
    assert.equal(document.getText(), before);
    await vscode.commands.executeCommand("blt.toggle");
    assert.equal(vscode.workspace.getConfiguration("blt").get("enable"), true);
    await checkCompleted(document);
    await setting("enable", undefined);
  });

  it("switches one language off and on", async () => {
    const document = await vscode.workspace.openTextDocument({ language: "python", content: "" });
    await vscode.window.showTextDocument(document);
    const languages = () => vscode.workspace.getConfiguration("blt").get<Record<string, boolean>>("languages");
    await vscode.commands.executeCommand("blt.toggleLanguage");
    assert.equal(languages()?.python, false);
    await vscode.commands.executeCommand("blt.toggleLanguage");
    assert.equal(languages()?.python, true);
    await setting("languages", undefined);
  });

  it("writes a setting where the folder has its own value", async () => {
    const configuration = vscode.workspace.getConfiguration("blt");
    await configuration.update("enable", true, vscode.ConfigurationTarget.Workspace);
    await vscode.commands.executeCommand("blt.toggle");
    const { workspaceValue, globalValue } = vscode.workspace.getConfiguration("blt").inspect("enable") ?? {};
    assert.deepEqual([workspaceValue, globalValue], [false, undefined]);
    await configuration.update("enable", undefined, vscode.ConfigurationTarget.Workspace);
  });

  it("shows its log", async () => {
    await vscode.commands.executeCommand("blt.showLog");
    const log = await until("the log", () =>
      vscode.workspace.textDocuments.find(
        (document) => document.uri.scheme === "output" && /Ready/.test(document.getText()),
      ),
    );
    assert.match(log.getText(), /Model: /);
  });

  it("restarts the server, and goes on completing", async () => {
    await vscode.commands.executeCommand("blt.restartServer");
    await checkCompleted(await vscode.workspace.openTextDocument({ language: "python", content: "import math\n\n" }));
  });
});

/** Types at the end of the document until a suggestion is offered, and checks that taking it only adds text. */
async function checkCompleted(document: vscode.TextDocument): Promise<void> {
  for (const code of ["class Circle:\n    def __init__(self, ", "\nimport ", "\nreturn self.", "\nif value"]) {
    await typeAtEnd(document, code);
    const before = document.getText();
    for (const end = Date.now() + 8_000; Date.now() < end; ) {
      await trigger();
      await sleep(500);
      await vscode.commands.executeCommand("editor.action.inlineSuggest.commit");
      const after = document.getText();
      if (after === before) continue;
      assert.ok(after.startsWith(before), `${JSON.stringify(after)} begins with ${JSON.stringify(before)}`);
      return;
    }
  }
  assert.fail("nothing was suggested anywhere");
}

async function typeAtEnd(document: vscode.TextDocument, text: string): Promise<void> {
  const active = vscode.window.activeTextEditor;
  const editor = active?.document === document ? active : await vscode.window.showTextDocument(document);
  const end = document.lineAt(document.lineCount - 1).range.end;
  await editor.edit((edit) => edit.insert(end, text));
  const position = document.lineAt(document.lineCount - 1).range.end;
  editor.selection = new vscode.Selection(position, position);
}

async function trigger(): Promise<void> {
  await vscode.commands.executeCommand("blt.trigger");
}

async function setting(name: string, value: unknown): Promise<void> {
  await vscode.workspace.getConfiguration("blt").update(name, value, vscode.ConfigurationTarget.Global);
}

function sleep(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms));
}

async function until<T>(what: string, read: () => T | undefined | false): Promise<T> {
  for (const end = Date.now() + 30_000; ; await sleep(50)) {
    const value = read();
    if (value !== undefined && value !== false) return value;
    if (Date.now() > end) throw new Error(`Waited in vain for: ${what}.`);
  }
}
