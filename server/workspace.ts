/**
 * The workspace as the LSP thread sees it: which folders and open documents there are and what changes in them, told to
 * the model's thread, which counts their texts (`workspace-texts.ts`). Told anew whenever a model was loaded.
 */
import {
  type Connection,
  DidChangeWatchedFilesNotification,
  FileChangeType,
  type InitializeParams,
} from "vscode-languageserver/node";
import type { FilesExclude } from "../model-runtime/workspace/ignore-rules";
import { lineEndFrom } from "./context";
import type { Documents, OpenDocument } from "./documents";
import type { ModelHost } from "./model-host";
import type { Decision } from "./protocol";
import { type DocumentAround, documentName, type FromWorkspace, pathOf } from "./workspace-protocol";

/** How much of the document at hand is counted on each side of the context, UTF-16 code units. */
const AROUND_LENGTH = 100_000;
/** Changes of files are told together, ms. */
const GATHER_MS = 200;
/** How long the editor may take to tell `files.exclude`, ms. */
const PATIENCE_MS = 2000;
/** Shown texts that are asked about at the same time; of more the oldest are forgotten. */
const MOST_ASKED = 20;

export interface WorkspaceOptions {
  connection: Connection;
  documents: Documents;
  host: Pick<ModelHost, "tellWorkspace">;
  /** Whether the user wants suggestions with the workspace's counts. */
  isOn(): boolean;
  /** Told of a sentence that the user should see, or null when there is none any more. */
  onNotice(notice: string | null): void;
}

export class Workspace {
  private folders: string[] = [];
  private filesExclude: FilesExclude = {};
  private client: InitializeParams | null = null;
  /** Versions of the open documents that the model's thread has; the document at hand is not among them. */
  private readonly told = new Map<string, number>();
  private current: string | null = null;
  private readonly asked = new Map<number, Decision>();
  private nextId = 1;
  private changed = new Set<string>();
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly options: WorkspaceOptions) {}

  /** Begins when the client is initialized. */
  start(client: InitializeParams): void {
    this.client = client;
    const uris = client.workspaceFolders?.map(({ uri }) => uri) ?? (client.rootUri ? [client.rootUri] : []);
    this.folders = uris.map(pathOf).filter((path) => path !== null);
    const { connection } = this.options;
    const capabilities = client.capabilities.workspace;
    if (capabilities?.workspaceFolders) {
      connection.workspace.onDidChangeWorkspaceFolders(({ added, removed }) => {
        const gone = new Set(removed.map(({ uri }) => pathOf(uri)));
        const come = added.map(({ uri }) => pathOf(uri)).filter((path) => path !== null);
        this.folders = [...this.folders.filter((folder) => !gone.has(folder)), ...come];
        this.tellFolders();
      });
    }
    connection.onDidChangeWatchedFiles(({ changes }) => {
      for (const { uri, type } of changes) this.fileChanged(uri, type);
    });
    if (capabilities?.didChangeWatchedFiles?.dynamicRegistration) {
      const watchers = [{ globPattern: "**/*" }];
      void connection.client.register(DidChangeWatchedFilesNotification.type, { watchers });
    }
  }

  /** Tells the model's thread everything, after a model was loaded or the settings changed. */
  async tellAll(): Promise<void> {
    this.told.clear();
    this.current = null;
    // At once that there is one, so that no text is begun without it; then which files it has.
    if (!this.tellFolders([])) return;
    this.filesExclude = await this.readFilesExclude();
    if (!this.tellFolders()) return;
    for (const document of this.options.documents.all()) this.tellDocument(document);
  }

  /** What a request says of its document beyond the context; open documents that changed are told before. */
  around(document: OpenDocument, cursor: number): DocumentAround | undefined {
    if (!this.options.isOn()) return undefined;
    for (const other of this.options.documents.all()) {
      if (other !== document && this.told.get(other.uri) !== other.version) this.tellDocument(other);
    }
    this.told.delete(document.uri);
    this.current = document.uri;
    const text = document.text!;
    const all = text.getText();
    const lineEnd = lineEndFrom(all, cursor);
    const start = document.window?.start ?? 0;
    return {
      path: documentName(document.uri),
      before: all.slice(Math.max(0, start - AROUND_LENGTH), start),
      after: all.slice(lineEnd, lineEnd + AROUND_LENGTH),
      afterLine: text.positionAt(lineEnd).line,
    };
  }

  documentOpened(uri: string): void {
    const document = this.options.documents.get(uri);
    if (document !== undefined && this.options.isOn()) this.tellDocument(document);
  }

  documentClosed(uri: string): void {
    this.told.delete(uri);
    if (this.current === uri) this.current = null;
    this.options.host.tellWorkspace({ type: "workspaceText", path: documentName(uri), text: null });
  }

  /** Finds out whether a text that was shown stands in the workspace, and adds it to the decision. */
  ask(decision: Decision, text: string): void {
    const id = this.nextId++;
    if (!this.options.isOn() || !this.options.host.tellWorkspace({ type: "quote", id, text: text.trim() })) return;
    this.asked.set(id, decision);
    if (this.asked.size > MOST_ASKED) this.asked.delete(this.asked.keys().next().value!);
  }

  received(message: FromWorkspace): void {
    if (message.type === "counted") {
      this.options.connection.console.info(message.sentence);
      this.options.onNotice(message.notice);
      return;
    }
    const decision = this.asked.get(message.id);
    this.asked.delete(message.id);
    if (decision !== undefined && message.quote !== null) decision.quote = message.quote;
  }

  private tellFolders(folders = this.folders): boolean {
    const isOn = this.options.isOn();
    if (!isOn) this.options.onNotice(null);
    const near = this.options.documents.all().map(({ uri }) => documentName(uri));
    const { filesExclude } = this;
    return this.options.host.tellWorkspace({ type: "workspace", isOn, folders, filesExclude, near }) && isOn;
  }

  private tellDocument({ uri, text, version }: OpenDocument): void {
    if (text === null || uri === this.current) return;
    if (this.options.host.tellWorkspace({ type: "workspaceText", path: documentName(uri), text: text.getText() })) {
      this.told.set(uri, version);
    }
  }

  private fileChanged(uri: string, type: FileChangeType): void {
    const path = pathOf(uri);
    // The text of an open document is the editor's; that it was removed on the disk changes nothing before it is closed.
    if (path === null || (type !== FileChangeType.Deleted && this.options.documents.get(uri) !== undefined)) return;
    this.changed.add(path);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      const paths = [...this.changed];
      this.changed = new Set();
      this.options.host.tellWorkspace({ type: "filesChanged", paths });
    }, GATHER_MS).unref();
  }

  private async readFilesExclude(): Promise<FilesExclude> {
    const { connection } = this.options;
    if (this.client?.capabilities.workspace?.configuration !== true) return {};
    const patience = new Promise<null>((resolve) => setTimeout(() => resolve(null), PATIENCE_MS).unref());
    try {
      const given = await Promise.race([connection.workspace.getConfiguration("files.exclude"), patience]);
      return isExclude(given) ? given : {};
    } catch (error) {
      connection.console.warn(`The editor did not tell files.exclude: ${(error as Error).message}`);
      return {};
    }
  }
}

function isExclude(given: unknown): given is FilesExclude {
  return (
    typeof given === "object" &&
    given !== null &&
    Object.values(given).every(
      (value) => typeof value === "boolean" || (typeof value === "object" && typeof value?.when === "string"),
    )
  );
}
