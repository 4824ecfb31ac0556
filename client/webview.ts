/** Pages in the editor: what they may do, and what they are made of. */
import { randomBytes } from "node:crypto";
import * as vscode from "vscode";

export interface PageParts {
  title: string;
  body: string;
  /** Bundled style and script, names in `dist`; null for none. */
  style: string | null;
  script: string | null;
  /** Style and script that are part of the page. */
  inlineStyle?: string;
  inlineScript?: string;
}

/** A page that may load nothing but its own parts: no network, no frames, no other scripts. */
export function pageHtml(webview: vscode.Webview, extension: vscode.Uri, parts: PageParts): string {
  const nonce = randomBytes(16).toString("base64");
  const address = (name: string) => webview.asWebviewUri(vscode.Uri.joinPath(extension, "dist", name)).toString();
  const policy = [
    "default-src 'none'",
    `style-src ${webview.cspSource} 'nonce-${nonce}'`,
    `script-src 'nonce-${nonce}'`,
    // The picture that is exported is drawn from an image of its own.
    "img-src data:",
  ].join("; ");
  const style = parts.style === null ? "" : `<link rel="stylesheet" href="${address(parts.style)}">`;
  const inlineStyle = parts.inlineStyle === undefined ? "" : `<style nonce="${nonce}">${parts.inlineStyle}</style>`;
  const script = parts.script === null ? "" : `<script nonce="${nonce}" src="${address(parts.script)}"></script>`;
  const inlineScript =
    parts.inlineScript === undefined ? "" : `<script nonce="${nonce}">${parts.inlineScript}</script>`;
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${parts.title}</title>
${style}${inlineStyle}
</head>
<body>
${parts.body}
${script}${inlineScript}
</body>
</html>`;
}

export function pageOptions(extension: vscode.Uri): vscode.WebviewPanelOptions & vscode.WebviewOptions {
  return {
    enableScripts: true,
    retainContextWhenHidden: true,
    localResourceRoots: [vscode.Uri.joinPath(extension, "dist")],
  };
}
