/** The page that `blt report` writes: one file that holds all it needs and asks no network for anything. */
import type { Statistics } from "../statistics/collect";
import { escapeHtml } from "./html";
import { type PageOptions, sortScript, statisticsBody } from "./statistics-page";
import { reportColours, statisticsRules } from "./statistics-style";

export function reportPage(statistics: Statistics, options: PageOptions): string {
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>${escapeHtml(options.title)} · BLT Code statistics</title>
<style>${reportColours}${statisticsRules}</style>
</head>
<body>
${statisticsBody(statistics, options)}
<script>${sortScript}</script>
</body>
</html>
`;
}
