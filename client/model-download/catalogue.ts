/** The models that can be downloaded, and which files of which repositories each consists of. */

export interface DownloadableModel {
  /** Repository on Hugging Face that the model is known by. */
  id: string;
  label: string;
  /** What the user should know before: whose it is, under which licence, what it needs. */
  detail: string;
  licence: { name: string; summary: string };
  parts: readonly ModelPart[];
}

/** Files of one repository. */
export interface ModelPart {
  repository: string;
  /** Folder inside the model's folder that they go into; empty for that one itself. */
  into: string;
  /** Whether a file of the repository is needed. */
  needs(path: string): boolean;
}

const researchLicence = {
  name: "FAIR Noncommercial Research License",
  summary:
    "Meta gives these weights for research that is not commercial, to people who have accepted its licence on Hugging Face. " +
    "Suggestions made with them fall under it as well. Nothing of them comes with BLT Code.",
};

/** Weights in safetensors files, configuration, licence; not the same weights once more in other formats. */
function isModelFile(path: string): boolean {
  return (
    /^(config|train_args|model\.safetensors\.index)\.json$/.test(path) ||
    /^[^/]+\.safetensors$/.test(path) ||
    /^LICEN[CS]E[^/]*$/i.test(path)
  );
}

/** Meta's checkpoints hold their entropy model in PyTorch's format; its own repository has it as safetensors. */
function metaModel(repository: string): readonly ModelPart[] {
  return [
    { repository, into: "", needs: isModelFile },
    {
      repository: "facebook/blt-entropy",
      into: "entropy_model",
      needs: (path) => path === "config.json" || /^[^/]+\.safetensors$/.test(path),
    },
  ];
}

export const downloadableModels: readonly DownloadableModel[] = [
  {
    id: "facebook/blt-1b",
    label: "BLT 1B",
    detail: "Meta's release for research, for machines with 16 GB of memory; slow without a GPU",
    licence: researchLicence,
    parts: metaModel("facebook/blt-1b"),
  },
  {
    id: "facebook/blt-7b",
    label: "BLT 7B",
    detail: "Meta's release for research, for machines with a large GPU",
    licence: researchLicence,
    parts: metaModel("facebook/blt-7b"),
  },
];
