/** Language of a file by the extension of its name, for statistics. */
const languages: Record<string, string> = {
  TypeScript: "ts tsx mts cts",
  JavaScript: "js jsx mjs cjs",
  Python: "py pyi",
  Rust: "rs",
  Go: "go",
  C: "c h",
  "C++": "cc cpp cxx hpp hh",
  "C#": "cs",
  Java: "java",
  Kotlin: "kt kts",
  Ruby: "rb",
  PHP: "php",
  Swift: "swift",
  Shell: "sh bash zsh",
  Lua: "lua",
  Perl: "pl pm",
  HTML: "html htm",
  CSS: "css scss less",
  SQL: "sql",
  Markdown: "md",
  JSON: "json",
  YAML: "yml yaml",
};

const byExtension = new Map(
  Object.entries(languages).flatMap(([language, extensions]) =>
    extensions.split(" ").map((extension): [string, string] => [extension, language]),
  ),
);

/** A name such as `TypeScript`; `other` for an extension that is not known. */
export function languageOf(path: string): string {
  return byExtension.get(path.slice(path.lastIndexOf(".") + 1).toLowerCase()) ?? "other";
}
