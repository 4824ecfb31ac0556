/**
 * What `.gitignore`, `.bltignore` and the editor's `files.exclude` say about a path. `.bltignore` has git's syntax and is
 * read after the `.gitignore` beside it, so that it can also bring files back (`!generated/api.ts`).
 *
 * Paths are relative to the workspace's folder, with "/" between names.
 */
import ignore, { type Ignore } from "ignore";
import picomatch from "picomatch";

/** Files with rules, in the order they are read; the last rule that matches decides. */
export const ignoreFiles = [".gitignore", ".bltignore"] as const;

/** The rules in force inside one folder: its own, and those of the folders above it. */
export class IgnoreRules {
  private constructor(
    private readonly parent: IgnoreRules | null,
    /** The folder that the rules are written for, ending in "/" unless it is the root, whose path is "". */
    private readonly base: string,
    private readonly rules: Ignore,
  ) {}

  /**
   * Rules for the folder `base` on top of those above it.
   *
   * @param base path that every tested path begins with
   * @param texts contents of files with rules, in their order
   */
  static inside(parent: IgnoreRules | null, base: string, texts: readonly string[]): IgnoreRules {
    return new IgnoreRules(parent, base, ignore({ allowRelativePaths: true }).add(texts.join("\n")));
  }

  /** Whether a path is ignored, folders with a "/" at the end; deeper rules go before those above. */
  ignores(path: string): boolean {
    for (let level: IgnoreRules | null = this; level !== null; level = level.parent) {
      const { ignored, unignored } = level.rules.test(path.slice(level.base.length));
      if (ignored) return true;
      if (unignored) return false;
    }
    return false;
  }
}

/** VS Code's `files.exclude`: patterns that are on, off, or on when another file lies beside. */
export type FilesExclude = Readonly<Record<string, boolean | { when: string }>>;

/** Whether a path is excluded; `siblings` are the names in its folder. */
export type ExcludeTest = (path: string, siblings: ReadonlySet<string>) => boolean;

export function filesExcludeTest(exclude: FilesExclude): ExcludeTest {
  const rules = Object.entries(exclude)
    .filter(([, value]) => value !== false && value !== null)
    .map(([pattern, value]) => ({
      matches: picomatch(pattern.replace(/\/+$/, ""), { dot: true }),
      when: typeof value === "object" ? value.when : null,
    }));
  return (path, siblings) => {
    const name = path.slice(path.lastIndexOf("/") + 1);
    const stem = name.replace(/\.[^.]*$/, "");
    return rules.some(
      ({ matches, when }) => matches(path) && (when === null || siblings.has(when.replaceAll("$(basename)", stem))),
    );
  };
}
