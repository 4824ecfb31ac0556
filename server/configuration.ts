/** The settings as they stand now, read from the editor in whichever way it tells them. */
import {
  type Connection,
  DidChangeConfigurationNotification,
  type DidChangeConfigurationParams,
  type InitializeParams,
} from "vscode-languageserver/node";
import { SETTINGS_SECTION, type Settings } from "./protocol";
import { type CheckedSettings, checkSettings, sectionOf } from "./settings";

/** How long the editor may take to answer, ms. */
const PATIENCE_MS = 2000;

export class Configuration {
  private checked: CheckedSettings = checkSettings(undefined);
  private client: InitializeParams | null = null;
  private reading: Promise<void> = Promise.resolve();

  constructor(
    private readonly connection: Connection,
    /** Told each time the settings were read. */
    private readonly onRead: () => void,
  ) {
    connection.onDidChangeConfiguration(({ settings }: DidChangeConfigurationParams) => this.read(settings));
  }

  get settings(): Settings {
    return this.checked.settings;
  }

  /** Sentences about settings that could not be used. */
  get notices(): readonly string[] {
    return this.checked.notices;
  }

  /** Resolves when settings that are on their way have come. */
  whenRead(): Promise<void> {
    return this.reading;
  }

  /** Begins when the client is initialized. */
  start(client: InitializeParams): void {
    this.client = client;
    this.read(client.initializationOptions);
    if (client.capabilities.workspace?.didChangeConfiguration?.dynamicRegistration) {
      void this.connection.client.register(DidChangeConfigurationNotification.type, { section: SETTINGS_SECTION });
    }
  }

  private read(sent: unknown): void {
    this.reading = this.ask().then((answer) => {
      this.checked = checkSettings(sectionOf(answer ?? sent));
      for (const notice of this.checked.notices) this.connection.console.warn(notice);
      this.onRead();
    });
  }

  /** What the editor answers; null when it cannot be asked or does not answer. */
  private async ask(): Promise<unknown> {
    if (this.client?.capabilities.workspace?.configuration !== true) return null;
    const patience = new Promise<null>((resolve) => setTimeout(() => resolve(null), PATIENCE_MS).unref());
    try {
      return await Promise.race([this.connection.workspace.getConfiguration(SETTINGS_SECTION), patience]);
    } catch (error) {
      this.connection.console.warn(`The editor did not tell its settings: ${(error as Error).message}`);
      return null;
    }
  }
}
