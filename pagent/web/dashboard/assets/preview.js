// The beginning of a file as text. Nothing of it is parsed: a file of a job is not to be trusted.

import { openDialog } from "./dialog.js";
import { h, icon } from "./dom.js";
import { bytes, harmless, shortened } from "./format.js";
import { resource } from "./paths.js";

const MOST = 64 * 1024;

// Open a dialog with the beginning of a file; resolves when it is closed. ``save`` downloads all of it.
export async function preview(api, uid, entry, save) {
  const headers = entry.size > 0 ? { Range: `bytes=0-${MOST - 1}` } : {};
  const response = await api.fetch("GET", resource(uid, entry.path), { headers });
  const data = await beginning(response);
  const size = Number(/\/(\d+)$/.exec(response.headers.get("Content-Range") ?? "")?.[1] ?? data.length);
  await openDialog(
    shortened(entry.path),
    (close) => [
      h(
        "div.dialog-body.preview",
        {},
        content(data),
        h("p.hint", {}, size > data.length ? `The first ${bytes(data.length)} of ${bytes(size)}` : bytes(size)),
        h(
          "div.dialog-actions",
          {},
          h(
            "button",
            {
              type: "button",
              onclick: () => {
                close();
                save();
              },
            },
            icon("download"),
            "Download",
          ),
        ),
      ),
    ],
    { kind: "wide" },
  );
}

function content(data) {
  if (!data.length) return h("p.empty", {}, "This file is empty.");
  if (data.includes(0)) return h("p.empty", {}, "This file is not text.");
  const properties = { tabindex: "0", role: "region", "aria-label": "The text of the file" };
  return h("pre.preview-text", properties, readable(data));
}

// Return at most MOST bytes: the file may have grown since, and an agent may ignore the range.
async function beginning(response) {
  const reader = response.body.getReader();
  const pieces = [];
  let length = 0;
  while (length < MOST) {
    const { done, value } = await reader.read();
    if (done) break;
    pieces.push(value);
    length += value.length;
  }
  await reader.cancel();
  const data = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    data.set(piece, at);
    at += piece.length;
  }
  return data.subarray(0, MOST);
}

// Characters that would change how a text reads are displayed as code points; lines and tabs stay.
function readable(data) {
  const text = new TextDecoder().decode(data, { stream: true });
  return text
    .split(/\r\n|\n/)
    .map((line) => line.split("\t").map(harmless).join("\t"))
    .join("\n");
}
