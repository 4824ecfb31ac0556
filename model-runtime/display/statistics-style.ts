/** The style of a page of statistics: its rules, and the colours of a report that stands by itself. */
import { type Scheme, schemes } from "./colours";

/** Rules; colours are variables: --ground, --text, --muted, --rule, --panel, --accent, --link, --edge; --e1 to --e7 and --s1 to --s7 for entropies. */
export const statisticsRules = `
* { box-sizing: border-box; }
body { margin: 0; padding: 2.5rem clamp(1rem, 4vw, 3.5rem) 4rem; background: var(--ground); color: var(--text); font: 15px/1.55 var(--font); }
header, main { max-width: 76rem; margin: 0 auto; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0.1rem 0 0.4rem; overflow-wrap: anywhere; letter-spacing: -0.01em; }
h2 { font-size: 1.15rem; margin: 2.6rem 0 0.6rem; }
.eyebrow { color: var(--muted); margin: 0; font-size: 0.8rem; letter-spacing: 0.06em; text-transform: uppercase; }
.lead, section > p { color: var(--muted); margin: 0 0 1rem; max-width: 62ch; }
.notice { border-left: 3px solid var(--accent); background: var(--panel); padding: 0.5rem 0.9rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: 0.8rem; margin: 1.6rem 0; }
.tiles div { background: var(--panel); border: 1px solid var(--rule); border-radius: 8px; padding: 0.8rem 1rem; }
.tiles dd { margin: 0; font-size: 1.55rem; font-weight: 600; font-variant-numeric: tabular-nums; letter-spacing: -0.01em; }
.tiles dt { color: var(--muted); }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(22rem, 100%), 1fr)); gap: 0.8rem; }
figure { margin: 0; background: var(--panel); border: 1px solid var(--rule); border-radius: 8px; padding: 0.9rem 1rem; min-width: 0; }
figcaption { font-weight: 600; margin-bottom: 0.4rem; }
svg { width: 100%; height: auto; display: block; font: 12px var(--font); fill: var(--muted); }
svg .bar { fill: var(--accent); stroke: var(--edge); stroke-width: 0.75; }
svg .bar.e0 { fill: var(--rule); }
${[1, 2, 3, 4, 5, 6, 7].map((i) => `svg .bar.e${i} { fill: var(--s${i}); } code .e${i} { background: var(--e${i}); }`).join("\n")}
svg .area { fill: transparent; } svg g:hover .area { fill: var(--rule); opacity: 0.5; }
svg .grid { stroke: var(--rule); stroke-dasharray: 2 3; } svg .axis { stroke: var(--muted); }
details { margin-top: 0.7rem; } summary { cursor: pointer; color: var(--muted); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
caption { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.scroll { overflow-x: auto; border: 1px solid var(--rule); border-radius: 8px; }
th, td { text-align: left; padding: 0.35rem 0.9rem; border-bottom: 1px solid var(--rule); vertical-align: top; white-space: nowrap; }
tbody tr:last-child td { border-bottom: 0; } tbody tr:hover { background: var(--panel); }
th { background: var(--panel); color: var(--muted); font-weight: 600; font-size: 0.85rem; }
.sortable th { padding: 0; }
th button { all: unset; display: block; box-sizing: border-box; width: 100%; padding: 0.45rem 0.9rem; cursor: pointer; text-align: inherit; }
th button:hover { color: var(--text); }
th[aria-sort] button { color: var(--text); } th[aria-sort="ascending"] button::after { content: " ▲"; } th[aria-sort="descending"] button::after { content: " ▼"; }
.number, .numbers td + td, .numbers th + th { text-align: right; }
.numbers { margin-top: 0.5rem; } .numbers td, .numbers th { padding: 0.1rem 0.6rem; }
code { font: 13px/1.5 var(--mono); white-space: pre-wrap; overflow-wrap: anywhere; tab-size: 4; }
td:has(code) { white-space: normal; min-width: 22rem; }
code span { border-radius: 2px; }
a { color: var(--link); text-underline-offset: 2px; }
:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; border-radius: 3px; }
th button:focus-visible { outline-offset: -3px; }
@media print { .scroll { overflow: visible; } body { padding: 0; } }
`;

/** The colours of a report that is opened in a browser, in the brightness and contrast its reader prefers. */
export const reportColours = `
:root { color-scheme: light dark; --font: system-ui, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif; --mono: ui-monospace, "Cascadia Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
  --ground: #ffffff; --text: #1f2328; --muted: #59636e; --rule: #d8dee4; --panel: #f6f8fa; --accent: #2f6fb0; --link: #0a58b3; --edge: #00000026; ${scale(schemes.light)} }
@media (prefers-color-scheme: dark) { :root { --ground: #14181e; --text: #dfe4ea; --muted: #9aa5b1; --rule: #2d3640; --panel: #1b2129; --accent: #5aa2e0; --link: #79b8ff; --edge: #ffffff26; ${scale(schemes.dark)} } }
@media (prefers-contrast: more) { :root { --ground: #ffffff; --text: #000000; --muted: #292929; --rule: #292929; --panel: #ffffff; --accent: #003f87; --link: #00307a; --edge: #000000; ${scale(schemes.highContrastLight)} } }
@media (prefers-contrast: more) and (prefers-color-scheme: dark) { :root { --ground: #000000; --text: #ffffff; --muted: #ffffff; --rule: #8f8f8f; --panel: #000000; --accent: #6cb6ff; --link: #8cc8ff; --edge: #ffffff; ${scale(schemes.highContrast)} } }
`;

/** Variables of the entropy levels: --e1 to --e7 under text, --s1 to --s7 in drawings. */
function scale({ entropy, drawn }: Scheme): string {
  return entropy.map((colour, i) => `--e${i + 1}: ${colour}; --s${i + 1}: ${drawn[i]};`).join(" ");
}
