/** The overlay's decorations as VS Code draws them. Colours are the theme's (`contributes.colors`), so they follow it. */
import * as vscode from "vscode";
import { type DecorationKind, decorationKinds } from "./overlay-decorations";

const { ThemeColor, DecorationRangeBehavior, OverviewRulerLane } = vscode;

export function createDecorationTypes(): Record<DecorationKind, vscode.TextEditorDecorationType> {
  const types = decorationKinds.map((kind) => [kind, vscode.window.createTextEditorDecorationType(optionsOf(kind))]);
  return Object.fromEntries(types);
}

/** Marks of the places that surprise the model most. */
export function createSurpriseType(): vscode.TextEditorDecorationType {
  return vscode.window.createTextEditorDecorationType({
    isWholeLine: true,
    overviewRulerColor: new ThemeColor("blt.surpriseForeground"),
    overviewRulerLane: OverviewRulerLane.Center,
  });
}

function optionsOf(kind: DecorationKind): vscode.DecorationRenderOptions {
  const rangeBehavior = DecorationRangeBehavior.ClosedClosed;
  const boundary = "var(--vscode-blt-patchBoundary)";
  switch (kind) {
    case "boundary":
    case "boundaryBeside":
      // A border would move the text by its width, one pixel a patch; only a shadow takes no room. It has no option of its
      // own, so it follows one that changes nothing and that no other decoration sets. It must be one that is set on the
      // text itself: what is drawn below the text would be hidden by the colours of patches and levels.
      return { rangeBehavior, cursor: `text; box-shadow: inset 1px 0 0 0 ${boundary}` };
    case "boundaryAtEnd":
      return {
        rangeBehavior,
        before: {
          contentText: "",
          width: "1px",
          height: "1em",
          margin: "0 -1px 0 0",
          backgroundColor: new ThemeColor("blt.patchBoundary"),
        },
      };
    case "inner":
      return { rangeBehavior, textDecoration: `underline dotted 2px ${boundary}` };
    default: {
      const [, name, digit] = /^(patch|level)(\d)$/.exec(kind)!;
      const id = name === "patch" ? `blt.patch${Number(digit) + 1}Background` : `blt.entropy${digit}Background`;
      return { rangeBehavior, backgroundColor: new ThemeColor(id) };
    }
  }
}
