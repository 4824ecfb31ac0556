/** Options that change how text is cut, and what they make of a checkpoint's own settings. */
import { type PatchingConfig, patchingModes } from "../checkpoint/config";
import { UserError } from "../errors";
import { choice, flagName, number, orNone, toggle, type Values, wholeNumber } from "./arguments";

export const patchingOptions = {
  mode: choice("MODE", patchingModes, "how patches are found"),
  threshold: number("NATS", "a byte starts a patch where the entropy before it exceeds this"),
  thresholdAdd: orNone(number("NATS", "second threshold, on the rise of the entropy")),
  monotonic: toggle("start patches where the entropy rises by more than the threshold; --no-monotonic for its height"),
  newlineReset: toggle("start a patch, and the entropy model's context, after each newline; or --no-newline-reset"),
  maxPatchLength: orNone(wholeNumber("N", "longest patch in bytes", 1)),
  minPatchLength: wholeNumber("N", "shortest patch in bytes", 1),
  patchSize: wholeNumber("N", "patch length in mode static", 1),
};

/** The checkpoint's settings, with those that were given in their place. */
export function chosenPatching(own: PatchingConfig, values: Partial<Values<typeof patchingOptions>>): PatchingConfig {
  const names = Object.keys(patchingOptions) as (keyof typeof patchingOptions)[];
  const given = names.filter((name) => values[name] !== undefined).map((name) => [name, values[name]]);
  return { ...own, ...Object.fromEntries(given) };
}

/** As `chosenPatching`, for a model that may have no patches (null): settings for it are a `UserError`. */
export function chosenPatchingOf(
  own: PatchingConfig | null,
  values: Partial<Values<typeof patchingOptions>>,
): PatchingConfig | undefined {
  if (own !== null) return chosenPatching(own, values);
  const names = Object.keys(patchingOptions) as (keyof typeof patchingOptions)[];
  const given = names.find((name) => values[name] !== undefined);
  if (given !== undefined)
    throw new UserError(
      `${flagName(given)} is about patches, and this model reads pieces of its lexicon; leave it out.`,
    );
  return undefined;
}
