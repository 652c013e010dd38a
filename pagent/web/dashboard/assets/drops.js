// Files that a person gives: by a field of files, or by dropping files and folders.

import { wellFormed } from "./paths.js";

// Yield {file, path} of the files of an <input type="file">; path is relative, and begins with the name of a chosen folder.
export async function* ofInput(input) {
  for (const file of input.files) yield { file, path: cleaned(file.webkitRelativePath || file.name) };
}

// Return a generator of {file, path} of the dropped files and folders. The entries have to be taken while the event is handled.
export function ofDrop(transfer) {
  const entries = [];
  const files = [];
  for (const item of transfer.items) {
    if (item.kind !== "file") continue;
    const entry = item.webkitGetAsEntry?.();
    if (entry) entries.push(entry);
    else if (item.getAsFile()) files.push(item.getAsFile());
  }
  return (async function* walk() {
    for (const file of files) yield { file, path: cleaned(file.name) };
    for (const entry of entries) yield* ofEntry(entry, "");
  })();
}

async function* ofEntry(entry, prefix) {
  const path = prefix + entry.name;
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    yield { file, path: cleaned(path) };
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    // A browser gives at most 100 entries at a time, and none at the end.
    const batch = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!batch.length) return;
    for (const each of batch) yield* ofEntry(each, `${path}/`);
  }
}

function cleaned(path) {
  return wellFormed(path).replace(/^\/+/, "");
}
