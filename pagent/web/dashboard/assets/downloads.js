// Downloads. The token is in a field of the request, never in an address, so the browser cannot be sent to the file: the
// page fetches it. The browser keeps it (Chromium and Firefox: on disk) until it is saved; a larger one goes straight into a
// file that the person chooses, where the browser has that.

import { confirmAction } from "./dialog.js";
import { bytes } from "./format.js";
import { savable } from "./paths.js";

const KEPT_MAX = 256 * 1024 * 1024;
const REVOKED_MS = 60_000;

// Save the body of an answer to a GET of the API. ``changed(done, size)`` is called with the progress.
export async function download(api, path, { query, name, signal, changed, command }) {
  const response = await api.fetch("GET", path, { query, signal });
  const size = Number(response.headers.get("Content-Length"));
  const body = response.body.pipeThrough(counted((done) => changed(done, size)));
  if (size <= KEPT_MAX) {
    keep(await new Response(body).blob(), savable(name));
    return true;
  }
  const writable = await chosen(savable(name), size, command);
  if (!writable) {
    await body.cancel();
    return false;
  }
  await body.pipeTo(writable, { signal });
  return true;
}

function counted(changed) {
  let done = 0;
  return new TransformStream({
    transform(chunk, controller) {
      done += chunk.length;
      changed(done);
      controller.enqueue(chunk);
    },
  });
}

function keep(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), REVOKED_MS);
}

// Return a file that is written as data is received; null if the person chooses none.
async function chosen(name, size, command) {
  const hasPicker = typeof window.showSaveFilePicker === "function";
  const text = hasPicker
    ? "It is written to the file that you choose as it arrives."
    : `This browser would keep all of it in memory. Use the command line: ${command}`;
  const answer = await confirmAction({
    title: `Download ${bytes(size)}`,
    subject: name,
    text,
    action: hasPicker ? "Choose a file" : "Close",
    danger: false,
  });
  if (!answer || !hasPicker) return null;
  try {
    const handle = await window.showSaveFilePicker({ suggestedName: name });
    return await handle.createWritable();
  } catch (error) {
    if (error.name === "AbortError") return null;
    throw error;
  }
}
