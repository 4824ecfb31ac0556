import assert from "node:assert/strict";
import { addFolder, type FolderStore, modelChoices, recentFolders } from "../../client/model-choices";
import { downloadableModels } from "../../client/model-download/catalogue";

function memory(): FolderStore {
  const values = new Map<string, unknown>();
  return {
    get: <T>(key: string, fallback: T) => (values.get(key) as T) ?? fallback,
    update: async (key, value) => void values.set(key, value),
  };
}

describe("model choices", () => {
  function check(current: string, recent: string[], folders: (string | null)[], inUse: string) {
    const choices = modelChoices(current, recent, []);
    assert.deepEqual(
      choices.map(({ folder }) => folder),
      folders,
    );
    assert.deepEqual(
      choices.filter(({ description }) => description === "in use").map(({ folder }) => folder),
      [inUse],
    );
  }

  it("are the model in the package and a folder to choose", () => check("", [], ["", null], ""));
  it("hold the folders chosen before", () => check("", ["/b", "/a"], ["", "/b", "/a", null], ""));
  it("hold the one in use, chosen or not", () => {
    check("/a", ["/b", "/a"], ["", "/b", "/a", null], "/a");
    check("/c", ["/b"], ["", "/c", "/b", null], "/c");
  });

  it("end with the models that can be downloaded", () => {
    const choices = modelChoices("", [], downloadableModels);
    assert.deepEqual(
      choices.slice(2).map(({ description, folder, download }) => [description, folder, download?.id]),
      [
        ["facebook/blt-1b from Hugging Face", null, "facebook/blt-1b"],
        ["facebook/blt-7b from Hugging Face", null, "facebook/blt-7b"],
      ],
    );
    for (const { detail } of choices.slice(2)) assert.match(detail!, /FAIR Noncommercial Research License$/);
  });

  it("remember the last eight folders, each once, the newest first", async () => {
    const store = memory();
    for (const folder of ["1", "2", "3", "1", "4", "5", "6", "7", "8", "9"]) await addFolder(store, folder);
    assert.deepEqual(recentFolders(store), ["9", "8", "7", "6", "5", "4", "1", "3"]);
  });
});
