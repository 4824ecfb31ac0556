// Bundles the entry points into dist/. onnxruntime-node stays outside: it finds its native library beside its own files.
import { build } from "esbuild";

await build({
  entryPoints: { cli: "model-runtime/cli/main.ts" },
  outdir: "dist",
  bundle: true,
  platform: "node",
  target: "node20",
  format: "cjs",
  external: ["onnxruntime-node"],
  banner: { js: "#!/usr/bin/env node" },
  sourcemap: true,
  logLevel: "warning",
});
