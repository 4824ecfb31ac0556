/** Required before a test: onnxruntime-node is then the copy that has the CUDA provider beside it. */
const Module = require("node:module");
const { join } = require("node:path");

const copy = join(__dirname, "../../.cache/cuda/node_modules");
const resolve = Module._resolveFilename;
Module._resolveFilename = function (request, ...rest) {
  return resolve.call(this, /^onnxruntime-node(\/|$)/.test(request) ? join(copy, request) : request, ...rest);
};
