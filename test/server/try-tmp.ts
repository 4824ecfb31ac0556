import { LspClient } from "/work/main/test/server/lsp-client";
(async () => {
  const c = new LspClient({ configuration: { modelPath: process.argv[2], minConfidence: 0, delay: 0, threads: 1 }, program: process.argv[3] });
  const t0 = performance.now();
  console.log(JSON.stringify(await c.initialize()));
  await c.status(s => s.state.kind === "ready" || s.state.kind === "problem");
  console.log(JSON.stringify(c.statuses), performance.now()-t0);
  await c.open("file:///a.ts", "function add(a: number, b: number) {\n  return a + ");
  console.log(await c.complete("file:///a.ts", 1, 13));
  console.log(await c.complete("file:///a.ts", 1, 13, {invoked: true}));
  console.log(await c.connection.sendRequest("blt/why"));
  console.log(await c.connection.sendRequest("blt/measurements", {reset: true}));
  console.log(await c.stop(), c.errors);
})();
