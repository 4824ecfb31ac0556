/** Settings as an editor sends them -> settings that can be used, and a sentence for each value that cannot. */
import { devices } from "../model-runtime/device";
import { defaultSettings, multilineChoices, SETTINGS_SECTION, type Settings, settingRanges } from "./protocol";

export interface CheckedSettings {
  settings: Settings;
  /** One sentence for each setting whose default is used instead of what was given. */
  notices: string[];
}

/** Reads settings; what is missing or null has its default, unknown names are ignored (they may be the client's own). */
export function checkSettings(given: unknown): CheckedSettings {
  const notices: string[] = [];
  const fields = asFields(given);
  if (fields === null) {
    if (given !== undefined && given !== null) {
      notices.push(`The settings must be an object of names and values, not ${shown(given)}; the defaults are used.`);
    }
    return { settings: { ...defaultSettings }, notices };
  }
  const settings: Record<string, unknown> = {};
  for (const name of Object.keys(defaultSettings) as (keyof Settings)[]) {
    const value = fields[name];
    const problem = value === undefined || value === null ? null : problemOf(name, value);
    if (problem !== null) {
      const fallback = shown(defaultSettings[name]);
      notices.push(`Setting ${SETTINGS_SECTION}.${name} must be ${problem}, not ${shown(value)}; ${fallback} is used.`);
    }
    settings[name] = problem !== null || value === undefined || value === null ? defaultSettings[name] : value;
  }
  return { settings: settings as unknown as Settings, notices };
}

/** The settings inside what an editor sends, which may name the section (`{"blt": {...}}`) or not (`{...}`). */
export function sectionOf(given: unknown): unknown {
  const fields = asFields(given);
  return fields !== null && SETTINGS_SECTION in fields ? fields[SETTINGS_SECTION] : given;
}

/** Whether suggestions are made in documents of this language. */
export function isLanguageEnabled({ languages }: Settings, languageId: string): boolean {
  return languages[Object.hasOwn(languages, languageId) ? languageId : "*"] ?? true;
}

/** What the value must be and is not; null when it will do. */
function problemOf(name: keyof Settings, value: unknown): string | null {
  if (Object.hasOwn(settingRanges, name)) {
    const { least, most, whole } = settingRanges[name as keyof typeof settingRanges];
    const fits = typeof value === "number" && value >= least && value <= most && (!whole || Number.isInteger(value));
    return fits ? null : `a ${whole ? "whole " : ""}number from ${least} to ${most}`;
  }
  switch (name) {
    case "enable":
    case "workspace":
      return typeof value === "boolean" ? null : "true or false";
    case "modelPath":
      return typeof value === "string" ? null : "the path of a folder";
    case "device":
      return oneOf(devices, value);
    case "multiline":
      return oneOf(multilineChoices, value);
    default: {
      const fields = asFields(value);
      const fits = fields !== null && Object.values(fields).every((enabled) => typeof enabled === "boolean");
      return fits ? null : "an object of language ids with true or false";
    }
  }
}

function oneOf(choices: readonly string[], value: unknown): string | null {
  return choices.includes(value as string) ? null : `one of ${choices.join(", ")}`;
}

function asFields(value: unknown): Record<string, unknown> | null {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : null;
}

/** The value as JSON, shortened. */
function shown(value: unknown): string {
  const text = typeof value === "number" ? String(value) : (JSON.stringify(value) ?? String(value));
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}
