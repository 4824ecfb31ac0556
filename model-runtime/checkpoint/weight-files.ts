/** The files of a checkpoint folder: `model.safetensors`, or the shards that `model.safetensors.index.json` lists. */
import { readdirSync, readFileSync, realpathSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { UserError } from "../errors";
import { fileStatus, orUserError } from "./file-access";
import { asFields, describe, parseJson, section } from "./json-fields";
import { readSafetensorsHeader, type TensorEntry } from "./safetensors";

/** A tensor and the file it lies in; links are followed, as onnxruntime opens no weights through one. */
export interface StoredTensor extends TensorEntry {
  /** Name in the file, for errors. */
  storedName: string;
  file: string;
  directory: string;
}

const singleFile = "model.safetensors";
const indexFile = "model.safetensors.index.json";

/** Every tensor of the folder by its name in the file. Throws a `UserError` when there is none, or a shard is missing. */
export function listTensors(directory: string): Map<string, StoredTensor> {
  const files = readNames(directory);
  if (files.includes(singleFile)) return readFile(directory, singleFile);
  if (files.includes(indexFile)) return readShards(directory);
  if (hasTorchFileOnly(directory)) throw torchFileError(directory, files);
  throw new UserError(`There is neither ${singleFile} nor ${indexFile} in ${directory}; the checkpoint is incomplete.`);
}

/** Whether the folder's weights are pickled by torch, which this runtime cannot read. */
export function hasTorchFileOnly(directory: string): boolean {
  const files = readNames(directory);
  return files.some(isTorchFile) && !files.includes(singleFile) && !files.includes(indexFile);
}

/** The JSON file at `path`; one that is optional and not there is undefined. */
export function readJson(path: string, options: { optional?: boolean } = {}): unknown {
  if (fileStatus(path) === null) {
    if (options.optional) return undefined;
    throw new UserError(`There is no ${basename(path)} in ${dirname(path)}; name the folder that holds a checkpoint.`);
  }
  return parseJson(
    orUserError(path, () => readFileSync(path, "utf8")),
    path,
  );
}

function readFile(directory: string, file: string): Map<string, StoredTensor> {
  const path = join(directory, file);
  if (!fileStatus(path)?.isFile()) throw new UserError(`${path} is no file, or a link to nothing; fetch it again.`);
  const real = realpathSync(path);
  const place = { file: basename(real), directory: dirname(real) };
  const entries = [...readSafetensorsHeader(path).values()];
  return new Map(entries.map((entry) => [entry.name, { ...entry, ...place, storedName: entry.name }]));
}

function readShards(directory: string): Map<string, StoredTensor> {
  const where = join(directory, indexFile);
  const map = section(asFields(readJson(where), where), "weight_map");
  if (map === null) throw new UserError(`"weight_map" is missing in ${where}; fetch the file again.`);
  const shards = new Map<string, Map<string, StoredTensor>>();
  const tensors = new Map<string, StoredTensor>();
  for (const [name, file] of Object.entries(map.values)) {
    if (!isPlainFileName(file)) {
      throw new UserError(
        `${where} puts tensor ${name} in ${describe(file)}; a shard must be a .safetensors file of the same folder.`,
      );
    }
    if (!shards.has(file)) {
      if (fileStatus(join(directory, file)) === null) {
        throw new UserError(`Shard ${file}, which ${where} lists, is missing; fetch it.`);
      }
      shards.set(file, readFile(directory, file));
    }
    const tensor = shards.get(file)!.get(name);
    if (tensor === undefined)
      throw new UserError(`Tensor ${name} is not in ${file}, where ${where} puts it; fetch both again.`);
    tensors.set(name, tensor);
  }
  return tensors;
}

/** No separators of any system, so that a downloaded index cannot point outside its folder. */
function isPlainFileName(file: unknown): file is string {
  return typeof file === "string" && /^[^/\\:]+\.safetensors$/.test(file);
}

function isTorchFile(file: string): boolean {
  return /\.(pth|pt|bin)$/.test(file);
}

function torchFileError(directory: string, files: string[]): UserError {
  const file = files.find((name) => name === "consolidated.pth") ?? files.find(isTorchFile);
  const convert = `import torch; from safetensors.torch import save_file; d = torch.load('${file}', map_location='cpu', weights_only=True); save_file({k: v.contiguous() for k, v in d.get('model', d).items()}, '${singleFile}')`;
  return new UserError(
    `${directory} holds its weights in torch's ${file}, which cannot be read here; convert it there with Python: python -c "${convert}".`,
  );
}

function readNames(directory: string): string[] {
  return orUserError(directory, () => readdirSync(directory));
}
