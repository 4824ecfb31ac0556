// Bundles the entry points into dist/. onnxruntime-node stays outside: it finds its native library beside its own files.
// --production: smaller, without source maps; and dist/third-party.json, the packages that went into the bundles.
import { writeFileSync } from "node:fs";
import { build } from "esbuild";

const production = process.argv.includes("--production");
const common = {
  outdir: "dist",
  bundle: true,
  platform: "node",
  target: "node20",
  format: "cjs",
  mainFields: ["module", "main"],
  external: ["onnxruntime-node", "vscode"],
  sourcemap: !production,
  minify: production,
  keepNames: production,
  metafile: true,
  logLevel: "warning",
};

const results = await Promise.all([
  build({
    ...common,
    entryPoints: { cli: "model-runtime/cli/main.ts" },
    banner: { js: "#!/usr/bin/env node" },
  }),
  build({
    ...common,
    entryPoints: {
      extension: "client/extension.ts",
      server: "server/main.ts",
      "model-worker": "server/model-worker.ts",
      "finetune-process": "server/finetune-process.ts",
      "tokenizer-worker": "server/tokenizer-worker.ts",
    },
    loader: { ".html": "text" },
  }),
]);

// Pages run in a browser.
results.push(
  await build({
    ...common,
    entryPoints: { explorer: "media/explorer/main.ts", "fine-tuning": "media/fine-tuning/main.ts" },
    platform: "browser",
    target: "chrome122",
    format: "iife",
    external: [],
    loader: { ".html": "text" },
  }),
);

if (production) {
  const inputs = results.flatMap(({ metafile }) => Object.keys(metafile.inputs));
  const folders = inputs.flatMap((path) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0] ?? []);
  writeFileSync("dist/third-party.json", JSON.stringify([...new Set(folders)].sort()));
}
