/** Code of several languages that comes with the program: on it no adapter may make the model much worse. */
import sample from "../../models/general-sample/sample.json";
import type { Document } from "./trainee";

export function generalSample(): Document[] {
  return sample.map(({ path, text }) => ({ path, bytes: Buffer.from(text, "utf8"), weight: 1 }));
}
