import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createRandom } from "../../../model-runtime/generation/random";

/** A workspace whose files are alike, so that one teaches about the others. */
export function writeWorkspace(folder: string, files = 14): void {
  const random = createRandom(11);
  const names = ["value", "total", "items", "count"];
  for (let file = 0; file < files; file++) {
    mkdirSync(join(folder, `part${file % 4}`), { recursive: true });
    const lines = Array.from({ length: 110 }, () => {
      const [a, b] = [names[Math.floor(4 * random())], names[Math.floor(4 * random())]];
      return `const ${a} = con(${b});\n    return ${a}\n`;
    });
    writeFileSync(join(folder, `part${file % 4}`, `file${file}.ts`), lines.join(""));
  }
}
