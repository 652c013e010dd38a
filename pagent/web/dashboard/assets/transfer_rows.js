// The rows of the list of transfers: name, progress, and result.

import { h, icon, setText } from "./dom.js";
import { bytes, harmless, plural, shortened } from "./format.js";
import { State } from "./uploads.js";

class Row {
  #onCancel;
  #isOver = false;

  constructor(kind, label, onCancel) {
    this.#onCancel = onCancel;
    this.label = h("span.transfer-label", {}, label);
    this.bar = h("progress", { max: "1", "aria-label": label });
    this.detail = h("span.transfer-detail");
    this.button = h(
      "button.icon-button",
      { type: "button", "aria-label": `Cancel: ${label}`, title: "Cancel", onclick: () => this.#press() },
      icon("close"),
    );
    this.below = h("ul.transfer-files");
    this.element = h(`li.transfer.${kind}`, {}, this.label, this.bar, this.detail, this.button, this.below);
  }

  get text() {
    return `${this.label.textContent}: ${this.detail.textContent}`;
  }

  #press() {
    if (this.#isOver) this.#remove();
    else this.#onCancel();
  }

  // The focus moves to the next row, otherwise to the button that begins an upload.
  #remove() {
    const next = this.element.nextElementSibling ?? this.element.previousElementSibling;
    const root = this.element.closest(".files");
    this.element.remove();
    (next?.querySelector("button") ?? root?.querySelector("[data-action=upload]"))?.focus();
  }

  finish(text, isGood) {
    this.#isOver = true;
    this.bar.remove();
    setText(this.detail, text);
    this.element.classList.toggle("has-failed", !isGood);
    this.button.setAttribute("aria-label", `Remove from this list: ${this.label.textContent}`);
    this.button.title = "Remove from this list";
  }
}

export class DownloadRow extends Row {
  constructor(name, onCancel) {
    super("download", shortened(name), onCancel);
  }

  update(done, size) {
    if (size) this.bar.value = done / size;
    setText(this.detail, `${bytes(done)} of ${bytes(size)}`);
  }

  end(text, isGood) {
    this.finish(text, isGood);
  }
}

// A batch of uploads.
export class UploadRow extends Row {
  constructor(onCancel) {
    super("upload", "Upload", onCancel);
    this.wanted = false;
  }

  update(batch) {
    if (this.wanted) return;
    this.wanted = true;
    queueMicrotask(() => {
      this.wanted = false;
      this.#draw(batch);
    });
  }

  #draw(batch) {
    const { counts, active } = batch;
    const sent = active.reduce((sum, upload) => sum + upload.sent, batch.bytes);
    const known = active.reduce((sum, upload) => sum + upload.file.size, batch.bytes);
    const only = active.length === 1 && !counts.done ? shortened(active[0].path) : null;
    if (!batch.isOver && only) setText(this.label, only);
    const parts = [`${plural(counts.done, "file")} uploaded, ${bytes(batch.isOver ? batch.bytes : sent)}`];
    for (const name of ["skipped", "failed", "cancelled"]) if (counts[name]) parts.push(`${counts[name]} ${name}`);
    if (batch.error) parts.push(`the rest could not be read: ${harmless(batch.error.message)}`);
    const rows = batch.failed.map((upload) => `${shortened(upload.path)}: ${harmless(upload.error.message)}`);
    for (const upload of active) {
      const doing = upload.state === State.CHECKING ? "checking what was sent before" : bytes(upload.sent);
      rows.push(`${shortened(upload.path)}: ${doing} of ${bytes(upload.file.size)}`);
    }
    this.below.replaceChildren(...rows.map((text) => h("li", {}, text)));
    if (batch.isOver) {
      setText(this.label, "Upload");
      this.finish(parts.join(", "), !counts.failed && !batch.error);
      return;
    }
    setText(this.detail, parts.join(", "));
    if (known) this.bar.value = sent / known;
  }
}
