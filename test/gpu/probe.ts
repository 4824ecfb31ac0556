/** Prints why CUDA cannot be used here; nothing when it can. */
import { resolveDevice } from "../../model-runtime/session";

resolveDevice("cuda").then(({ notice }) => console.log(notice ?? ""));
