/** The page of fine-tuning: shows the state of the run that the extension sends, and sends back what is clicked. */
import "uplot/dist/uPlot.min.css";
import "../page.css";
import "./fine-tuning.css";
import type { RunState } from "../../server/finetune-protocol";
import { aboutRun } from "./about";
import type { FromPage, ToPage } from "./messages";
import { RunPlot } from "./plot";
import { type Button, buttonsFor, figuresOf, gainsHead, gainsOf } from "./rows";

declare function acquireVsCodeApi(): { postMessage(message: FromPage): void };

const vscode = acquireVsCodeApi();
const $ = <E extends HTMLElement = HTMLElement>(id: string) => document.getElementById(id) as E;
const plot = new RunPlot($("plot"));

window.addEventListener("message", ({ data }: MessageEvent<ToPage>) => show(data.state));
$("buttons").addEventListener("click", ({ target }) => {
  const action = (target as HTMLElement).dataset.do as Button | undefined;
  if (action === undefined) return;
  vscode.postMessage(action === "start" || action === "adapters" ? { type: action } : { type: "control", action });
});
new MutationObserver(() => plot.recolour()).observe(document.body, { attributeFilter: ["class"] });
vscode.postMessage({ type: "ready" });

function show(state: RunState): void {
  $("about").textContent = aboutRun(state);
  const wanted = new Set<string>(buttonsFor(state));
  for (const button of $("buttons").querySelectorAll("button")) button.hidden = !wanted.has(button.dataset.do!);
  const percent = state.kind === "running" ? Math.round(100 * state.fraction) : 0;
  $("bar").hidden = state.kind !== "running";
  $("bar").setAttribute("aria-valuenow", `${percent}`);
  ($("bar").firstElementChild as HTMLElement).style.width = `${percent}%`;
  $("numbers").replaceChildren(
    ...figuresOf(state).map(([name, value]) => element("div", element("dt", name), element("dd", value))),
  );
  const verdict = state.kind === "done" ? state.summary.sentence : state.kind === "failed" ? state.sentence : null;
  $("verdict").hidden = verdict === null;
  $("verdict").textContent = verdict;
  const curve = "curve" in state ? state.curve : null;
  $("figure").hidden = curve === null || curve.loss.length + curve.heldOut.length === 0;
  if (curve !== null && !$("figure").hidden) plot.show(curve);
  $("gains").hidden = state.kind !== "done";
  if (state.kind === "done")
    $("gains").replaceChildren(
      element("tr", ...gainsHead.map((name) => element("th", name))),
      ...gainsOf(state.summary).map((cells) => element("tr", ...cells.map((cell) => element("td", cell)))),
    );
  const notices = state.kind === "running" ? state.notices : [];
  $("notices").replaceChildren(...notices.map((sentence) => element("li", sentence)));
}

function element(name: string, ...children: (Node | string)[]): HTMLElement {
  const made = document.createElement(name);
  made.append(...children);
  return made;
}
