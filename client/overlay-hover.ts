/** The overlay's hovers: what is known of a byte comes at once, what the model would have written when it has written it. */
import * as vscode from "vscode";
import {
  CONTINUE_REQUEST,
  type Continuation,
  EXPLAIN_REQUEST,
  type Explanation,
  type PlaceParams,
  type Refused,
} from "../server/overlay-protocol";
import { continuationMarkdown, explanationMarkdown } from "./explanation-text";
import type { LanguageServer } from "./language-server";

/** Two providers, because VS Code shows the one's hover while it waits for the other's; the last one stands first. */
export function registerHovers(server: LanguageServer, isOn: () => boolean): vscode.Disposable {
  const hover = async <A extends object>(
    method: string,
    document: vscode.TextDocument,
    position: vscode.Position,
    token: vscode.CancellationToken,
    markdown: (answer: A) => string,
  ): Promise<vscode.Hover | undefined> => {
    if (!isOn()) return undefined;
    const { line, character } = position;
    const params: PlaceParams = { uri: document.uri.toString(), position: { line, character } };
    const answer = await server.request<A | Refused>(method, params, token);
    if (answer === null || token.isCancellationRequested || "problem" in answer) return undefined;
    return new vscode.Hover(new vscode.MarkdownString(markdown(answer)), rangeOf(answer, line));
  };
  const providers: vscode.HoverProvider[] = [
    {
      provideHover: (document, position, token) =>
        hover<Continuation>(CONTINUE_REQUEST, document, position, token, continuationMarkdown),
    },
    {
      provideHover: (document, position, token) =>
        hover<Explanation>(EXPLAIN_REQUEST, document, position, token, explanationMarkdown),
    },
  ];
  return vscode.Disposable.from(
    ...providers.map((each) => vscode.languages.registerHoverProvider({ scheme: "*" }, each)),
  );
}

/** The character that an explanation is about. */
function rangeOf(answer: object, line: number): vscode.Range | undefined {
  const { character, length } = answer as Partial<Explanation>;
  if (character === undefined || length === undefined) return undefined;
  return new vscode.Range(line, character, line, character + length);
}
