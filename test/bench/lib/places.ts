/** Places in real code where a line goes on, with what is around them. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, extname, join, relative } from "node:path";
import type { Random } from "../../../model-runtime/generation/random";
import { type Context, contextIn } from "../../../server/context";
import { Documents } from "../../../server/documents";

export interface Place {
  /** Within the project, and its offset in the text. */
  name: string;
  /** Path of the file. */
  file: string;
  /** The file's text before the place, the rest of its line, and the lines below. */
  prefix: string;
  rest: string;
  suffix: string;
  /** Files of the project that would be open too: those it imports, then neighbours. */
  others: { path: string; text: string }[];
}

/** `count` places in the files of a project, each before a word of a line that is no comment. */
export function placesIn(folder: string, count: number, random: Random): Place[] {
  const files = readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((name) => /\.(ts|js|py)$/.test(name) && !/\.d\.ts$|node_modules|test/.test(name))
    .map((name) => ({
      path: join(folder, name),
      text: readFileSync(join(folder, name), "utf8").replaceAll("\r\n", "\n"),
    }))
    .filter(({ text }) => text.length > 1500 && text.length < 100_000);
  if (files.length === 0) throw new Error(`${folder} holds no .ts, .js or .py file of 1.5 to 100 kB`);
  const places: Place[] = [];
  while (places.length < count) {
    const file = files[Math.floor(random() * files.length)];
    const start = file.text.indexOf("\n", Math.floor(random() * file.text.length)) + 1;
    const line = file.text.slice(start).split("\n", 1)[0];
    const boundaries = [...line.matchAll(/\b/g)].map(({ index }) => index).filter((at) => line.length - at >= 4);
    if (start === 0 || line.trim().length < 10 || boundaries.length === 0 || /^\s*(\/\/|#|\*|\/\*)/.test(line))
      continue;
    const at = start + boundaries[Math.floor(random() * boundaries.length)];
    const neighbours = files.filter((other) => other !== file && extname(other.path) === extname(file.path));
    const imported = neighbours.filter(({ path }) => mentions(file.text, path));
    const siblings = neighbours.filter(
      ({ path }) => dirname(path) === dirname(file.path) && !mentions(file.text, path),
    );
    places.push({
      name: `${relative(folder, file.path)}:${at}`,
      file: file.path,
      prefix: file.text.slice(0, at),
      rest: file.text.slice(at, start + line.length),
      suffix: file.text.slice(start + line.length + 1),
      others: [...imported.slice(0, 3), ...siblings.slice(0, 2)],
    });
  }
  return places;
}

/** Whether a file imports another one, by its name. */
function mentions(text: string, path: string): boolean {
  const name = path.replace(/^.*\/|\.\w+$/g, "");
  return new RegExp(`(import|require|from).*\\b${name.replace(/\W/g, "\\$&")}\\b`).test(text);
}

/** What the server makes of a place in a document of which the rest of the line is still to be written. */
export function contextOf(
  { name, prefix, suffix }: Pick<Place, "name" | "prefix" | "suffix">,
  maxBytes: number,
): Context {
  const documents = new Documents();
  const uri = `file:///${name.replace(/:\d+$/, "")}`;
  documents.didOpen({ textDocument: { uri, languageId: "", version: 1, text: `${prefix}\n${suffix}` } });
  const cursor = { from: prefix.length, to: prefix.length, selected: "" };
  const start = prefix.length - lastLines(prefix, maxBytes).length;
  return contextIn(documents.get(uri)!, { start, front: "", openings: 0, anchor: null }, cursor);
}

/** The last lines of a text, as many whole ones as fit, or the end of the last one. */
export function lastLines(text: string, bytes: number): string {
  const end = text.slice(-bytes);
  return end.length === text.length ? end : end.slice(end.indexOf("\n") + 1);
}
