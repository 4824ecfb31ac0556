/** What `BLT: Select model…` offers. */
import { basename } from "node:path";
import type { DownloadableModel } from "./model-download/catalogue";

/** Where the folders chosen before are remembered (a `Memento` of the extension). */
export interface FolderStore {
  get<T>(key: string, fallback: T): T;
  update(key: string, value: unknown): Thenable<void>;
}

const storeKey = "modelFolders";
/** How many folders are remembered. */
const capacity = 8;

export interface ModelChoice {
  label: string;
  description?: string;
  detail?: string;
  /** The setting's value: empty for the model in the package; null when a folder is still to be chosen. */
  folder: string | null;
  /** What has to be downloaded first. */
  download?: DownloadableModel;
}

/**
 * @param current the setting `blt.modelPath`
 * @param downloads models that are not on this machine yet
 */
export function modelChoices(
  current: string,
  recent: readonly string[],
  downloads: readonly DownloadableModel[],
): ModelChoice[] {
  const folders = current === "" || recent.includes(current) ? recent : [current, ...recent];
  const mark = (folder: string) => (folder === current ? { description: "in use" } : {});
  return [
    {
      folder: "",
      label: "$(package) The model that comes with the extension",
      ...mark(""),
    },
    ...folders.map(
      (folder): ModelChoice => ({
        folder,
        label: `$(folder) ${basename(folder)}`,
        detail: folder,
        ...mark(folder),
      }),
    ),
    {
      folder: null,
      label: "$(folder-opened) Choose a folder…",
      detail: "A BLT checkpoint: config.json and model.safetensors",
    },
    ...downloads.map(
      (download): ModelChoice => ({
        folder: null,
        label: `$(cloud-download) Download ${download.label}…`,
        description: `${download.id} from Hugging Face`,
        detail: `${download.detail}; ${download.licence.name}`,
        download,
      }),
    ),
  ];
}

export function recentFolders(store: FolderStore): string[] {
  return store.get<string[]>(storeKey, []);
}

/** Puts a folder first among those remembered. */
export async function addFolder(store: FolderStore, folder: string): Promise<void> {
  const others = recentFolders(store).filter((other) => other !== folder);
  await store.update(storeKey, [folder, ...others].slice(0, capacity));
}
