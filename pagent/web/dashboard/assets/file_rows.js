// The rows of a folder.

import { h, icon } from "./dom.js";
import { bytes, harmless, localTime, shortened } from "./format.js";
import { nameOf } from "./paths.js";

// Return the row of an entry. ``open``, ``save`` and ``remove`` take it.
export function fileRow(entry, { open, save, remove }) {
  const name = nameOf(entry.path);
  const label = shortened(name, 300);
  const isDir = entry.type === "dir";
  const isFile = entry.type === "file";
  const canOpen = isDir || isFile;
  const text = h("bdi", {}, label);
  const action = (what, label_, iconName, onclick) =>
    h(
      "button.icon-button",
      { type: "button", "data-action": what, "aria-label": `${label_} ${label}`, title: label_, onclick },
      icon(iconName),
    );
  return h(
    "tr",
    { "data-path": entry.path, "data-type": entry.type },
    h(
      "td.name",
      {},
      icon(isDir ? "folder" : "file"),
      canOpen
        ? h("button.file-name", { type: "button", onclick: () => open(entry) }, text)
        : h("span.file-name", {}, text),
      entry.type === "link" ? h("span.chip", {}, "link") : null,
      entry.error ? h("span.problem", {}, harmless(entry.error)) : null,
    ),
    h("td.size", {}, isFile ? bytes(entry.size) : ""),
    h("td.mtime", {}, localTime(entry.mtime)),
    h(
      "td.file-actions",
      {},
      isDir ? action("archive", "Download", "download", () => save(entry)) : null,
      isFile ? action("download", "Download", "download", () => save(entry)) : null,
      action("delete", "Delete", "trash", () => remove(entry)),
    ),
  );
}

// Draw the rows again. The same button has the focus after that; if its row is gone, that of the row in its place.
export function keepFocusInRows(body, draw) {
  const focused = body.contains(document.activeElement) ? document.activeElement : null;
  const row = focused?.closest("tr");
  const at = row ? [...body.rows].indexOf(row) : -1;
  draw();
  if (!row) return;
  const same = [...body.rows].find((each) => each.dataset.path === row.dataset.path);
  const target = same ?? body.rows[Math.min(at, body.rows.length - 1)] ?? null;
  const action = focused.dataset.action;
  ((action && target?.querySelector(`[data-action="${action}"]`)) || target?.querySelector("button"))?.focus();
}
