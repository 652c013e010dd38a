// A worker that computes the SHA-256 of a file piece by piece, so that the page stays usable and the file is never whole in
// memory. It takes a Blob, and posts {done: bytes} now and then, and {digest} or {error} at the end.

import { Sha256 } from "./sha256.js";

const PIECE = 4 * 1024 * 1024;

onmessage = async ({ data: file }) => {
  try {
    const hash = new Sha256();
    for (let at = 0; at < file.size; at += PIECE) {
      hash.update(new Uint8Array(await file.slice(at, at + PIECE).arrayBuffer()));
      postMessage({ done: Math.min(at + PIECE, file.size) });
    }
    postMessage({ digest: hash.digest() });
  } catch (error) {
    postMessage({ error: error.message });
  }
};
