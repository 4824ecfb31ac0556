/** Drafts from the files of the workspace: what followed the longest context there. */
import type { Draft, DraftContext, Drafter } from "../generation/drafter";
import { continuation } from "./quotes";
import type { WorkspaceIndex } from "./workspace-index";

export class WorkspaceDrafter implements Drafter {
  readonly name = "workspace";

  constructor(private readonly index: WorkspaceIndex) {}

  draft({ text, most }: DraftContext): Draft | null {
    const found = continuation(this.index, text, most);
    return found === null ? null : { bytes: found.bytes, strength: Math.min(15, Math.floor(found.context / 2)) };
  }
}
