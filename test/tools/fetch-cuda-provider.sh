#!/usr/bin/env bash
# Makes .cache/cuda/node_modules/onnxruntime-node: our onnxruntime with the CUDA provider of the npm package
# com.github.asus4.onnxruntime.linux-x64-gpu beside it (the same version, 1.29.0, CUDA 13). Quick when it is there.
set -euo pipefail
root="$(cd "$(dirname "$0")/../.." && pwd)"
target="$root/.cache/cuda"
package="com.github.asus4.onnxruntime.linux-x64-gpu"
native="$target/node_modules/onnxruntime-node/bin/napi-v6/linux/x64"
[ -f "$native/libonnxruntime_providers_cuda.so" ] && exit 0
if [ "$(uname -sm)" != "Linux x86_64" ]; then
  echo "the CUDA provider exists for Linux x64 only" >&2
  exit 3
fi
mkdir -p "$target/node_modules"
cd "$target"
[ -f "$package-0.4.9.tgz" ] || npm pack --silent "$package@0.4.9" >/dev/null
rm -rf node_modules unpacked
mkdir -p node_modules unpacked
cp -r "$root/node_modules/onnxruntime-node" "$root/node_modules/onnxruntime-common" node_modules/
tar xzf "$package-0.4.9.tgz" -C unpacked
mv unpacked/package/Plugins/Linux/x64/libonnxruntime_providers_{cuda,shared}.so "$native/"
rm -rf unpacked "$package-0.4.9.tgz"
