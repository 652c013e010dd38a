// The tab Files of a job: browse its folder, upload, download, preview, delete.

import { tokenButton } from "./chips.js";
import { announce, confirmAction, failure, message } from "./dialog.js";
import { h, icon, setText } from "./dom.js";
import { download } from "./downloads.js";
import { ofDrop, ofInput } from "./drops.js";
import { fileRow, keepFocusInRows } from "./file_rows.js";
import { Folder } from "./folder.js";
import { count, harmless, plural, shortened } from "./format.js";
import { folderOf, joined, maskOf, nameOf, resource } from "./paths.js";
import { preview } from "./preview.js";
import { ReplaceQuestion } from "./replace_question.js";
import { withStyle } from "./styles.js";
import { DownloadRow, UploadRow } from "./transfer_rows.js";
import { Batch } from "./uploads.js";

const ROWS = 500;
// Characters of the name of a new folder.
const NAME_MAX = 1024;
// The transfers of each job, which outlive the tab.
const transfers = new Map();

// Mount the tab into an element; return {end(), show(path)}: ``show`` displays a folder.
// ``job``: as GET /v1/jobs/<uid> answers; ``api``: the client of /v1 (api.js); ``onGo(path, isReplaced)``: called when the
// reader goes to a folder, or when one is displayed in the place of another one that is gone.
export function mountFiles(element, job, api, onGo) {
  const reason = api.refusal("files", { job });
  if (reason) {
    element.append(h("p.empty", {}, reason, " ", tokenButton(api)));
    return { end: () => element.replaceChildren(), show() {} };
  }
  const view = new FilesView(job, api, onGo);
  withStyle("files.css").then(
    () => view.mount(element),
    (error) => failure("The files could not be displayed", error),
  );
  return {
    end() {
      view.end();
      element.replaceChildren();
    },
    show: (path) => view.show(path),
  };
}

class FilesView {
  #job;
  #api;
  #onGo;
  #isMounted = false;
  // The folder to display, and the one that is.
  #path = "";
  #folder;
  #rows = ROWS;
  #ending = new AbortController();
  #loading = null;
  #parts;
  #actions = {
    open: (entry) => (entry.type === "dir" ? this.go(entry.path) : this.#preview(entry)),
    save: (entry) => (entry.type === "dir" ? this.#archive(entry.path) : this.#download(entry)),
    remove: (entry) => this.#delete(entry),
  };

  constructor(job, api, onGo) {
    this.#job = job;
    this.#api = api;
    this.#onGo = onGo;
    if (!transfers.has(job.uid)) transfers.set(job.uid, h("ul.transfers", { "aria-label": "Transfers" }));
    this.#parts = this.#build();
  }

  mount(element) {
    if (this.#ending.signal.aborted) return;
    element.append(this.#parts.root);
    this.#isMounted = true;
    this.#load(this.#path);
  }

  show(path) {
    if (path === this.#path) return;
    this.#path = path;
    if (this.#isMounted) this.#load(path);
  }

  end() {
    this.#ending.abort();
    this.#loading?.abort();
  }

  // --- elements ---

  #build() {
    const input = (name, properties) => {
      const field = h("input.unseen", { type: "file", name, tabindex: "-1", "aria-hidden": "true", ...properties });
      field.addEventListener("change", () => {
        this.#upload(ofInput({ files: [...field.files] }));
        field.value = "";
      });
      return field;
    };
    const files = input("files", { multiple: true });
    const folder = input("folder", { webkitdirectory: true });
    const button = (action, text, onclick, name) =>
      h("button", { type: "button", "data-action": action, onclick }, icon(name), h("span", {}, text));
    const crumbs = h("ol.files-crumbs");
    const status = h("p.hint.files-status", { role: "status" });
    const body = h("tbody");
    const more = h(
      "button",
      { type: "button", "data-action": "more", hidden: true, onclick: () => this.#more() },
      "Show more",
    );
    const heads = Object.fromEntries(
      [
        ["name", "Name"],
        ["size", "Size"],
        ["mtime", "Modified"],
      ].map(([key, label]) => [
        key,
        h(`th.${key}`, { scope: "col" }, h("button.sort", { type: "button", onclick: () => this.#sort(key) }, label)),
      ]),
    );
    const root = h(
      "div.files",
      {},
      h("nav", { "aria-label": "Folder" }, crumbs),
      h(
        "div.files-bar",
        {},
        button("upload", "Upload files", () => files.click(), "upload"),
        "webkitdirectory" in files ? button("upload-folder", "Upload a folder", () => folder.click(), "upload") : null,
        button("new-folder", "New folder…", () => this.#newFolder(), "folder"),
        button("archive", "Download all", () => this.#archive(this.#folder.path), "download"),
        button("refresh", "Refresh", () => this.go(this.#folder.path), "refresh"),
        files,
        folder,
      ),
      transfers.get(this.#job.uid),
      h(
        "div.files-list",
        {},
        h(
          "table.files-table",
          {},
          h("caption.unseen", {}, "Files"),
          h("thead", {}, h("tr", {}, ...Object.values(heads), h("td", {}))),
          body,
        ),
      ),
      status,
      more,
      h("p.hint", {}, "Files and folders can be dropped here."),
    );
    this.#takeDrops(root);
    return { root, crumbs, status, body, more, heads };
  }

  #takeDrops(root) {
    let depth = 0;
    const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
    const mark = (change) => {
      depth = change === 0 ? 0 : Math.max(0, depth + change);
      root.classList.toggle("is-dropping", depth > 0);
    };
    root.addEventListener("dragenter", (event) => hasFiles(event) && mark(1));
    root.addEventListener("dragleave", (event) => hasFiles(event) && mark(-1));
    root.addEventListener("dragover", (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      event.dataTransfer.dropEffect = "copy";
    });
    root.addEventListener("drop", (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      mark(0);
      this.#upload(ofDrop(event.dataTransfer));
    });
  }

  // --- the folder ---

  // Go to a folder; to the same one: read it again.
  go(path) {
    if (path === this.#folder.path) this.#load(path);
    else this.#onGo(path, false);
  }

  async #load(path) {
    this.#loading?.abort();
    const loading = new AbortController();
    this.#loading = loading;
    const folder = new Folder(this.#api, this.#job.uid, path);
    if (this.#folder) folder.order = this.#folder.path === path ? this.#folder.order : folder.order;
    this.#folder = folder;
    this.#rows = ROWS;
    this.#crumbs();
    setText(this.#parts.status, "Loading…");
    try {
      await folder.load(loading.signal);
    } catch (error) {
      if (error.name === "AbortError") return;
      this.#parts.body.replaceChildren();
      setText(this.#parts.status, harmless(error.message));
      if (error.status === 404 && path) {
        message(`The folder ${shortened(path)} is gone.`);
        this.#onGo(folderOf(path), true);
      }
      return;
    }
    this.#draw();
  }

  #crumbs() {
    const parts = this.#folder.path ? this.#folder.path.split("/") : [];
    const crumb = (label, path, isLast) =>
      h(
        "li",
        {},
        h(
          "button.crumb",
          { type: "button", "aria-current": isLast ? "page" : null, onclick: () => this.go(path) },
          label,
        ),
      );
    const items = [crumb("Folder of the job", "", !parts.length)];
    for (const [index, name] of parts.entries()) {
      items.push(
        crumb(h("bdi", {}, shortened(name, 60)), parts.slice(0, index + 1).join("/"), index === parts.length - 1),
      );
    }
    this.#parts.crumbs.replaceChildren(...items);
  }

  #draw() {
    const { body, more, heads, status } = this.#parts;
    const { entries, order, isWhole } = this.#folder;
    const rows = entries.slice(0, this.#rows).map((entry) => fileRow(entry, this.#actions));
    keepFocusInRows(body, () => body.replaceChildren(...rows));
    for (const [key, head] of Object.entries(heads)) {
      const isBy = order.key === key;
      head.setAttribute("aria-sort", isBy ? (order.isDescending ? "descending" : "ascending") : "none");
    }
    more.hidden = this.#rows >= entries.length && isWhole;
    const shown = Math.min(this.#rows, entries.length);
    const all = isWhole ? count(entries.length) : `more than ${count(entries.length)}`;
    if (!entries.length) setText(status, "This folder is empty.");
    else
      setText(status, more.hidden ? plural(entries.length, "entry", "entries") : `${count(shown)} of ${all} entries`);
  }

  async #more() {
    const first = this.#rows;
    this.#rows += ROWS;
    await this.#loaded(() => this.#folder.entries.length >= this.#rows);
    this.#parts.body.rows[first]?.querySelector("button")?.focus();
  }

  async #sort(key) {
    await this.#loaded(() => false);
    if (!this.#folder.isWhole) {
      message(
        `This folder has more than ${count(this.#folder.entries.length)} entries. They stay in the order of their names.`,
      );
      return;
    }
    this.#folder.sortBy(key);
    this.#draw();
    announce(`Sorted by ${{ name: "name", size: "size", mtime: "time" }[key]}`);
  }

  // Load pages until ``isEnough``, or all.
  async #loaded(isEnough) {
    const folder = this.#folder;
    try {
      while (!isEnough() && !folder.isWhole && !folder.isFull) {
        await folder.load(this.#loading.signal);
        setText(this.#parts.status, `Loading… ${count(folder.entries.length)}`);
      }
    } catch (error) {
      if (error.name !== "AbortError") failure("The folder could not be read", error);
    }
    if (folder === this.#folder) this.#draw();
  }

  // --- actions ---

  async #upload(files) {
    const folder = this.#folder.path;
    const question = new ReplaceQuestion();
    const row = new UploadRow(() => batch.cancel());
    const batch = new Batch(files, () => row.update(batch));
    transfers.get(this.#job.uid).append(row.element);
    await batch.run(this.#api, this.#job.uid, folder, (path) => question.ask(path));
    announce(row.text);
    if (!this.#ending.signal.aborted && this.#folder.path === folder) this.go(folder);
  }

  async #newFolder() {
    const folder = this.#folder.path;
    const field = h("input", { type: "text", name: "name", autofocus: true, required: true, maxlength: NAME_MAX });
    const answer = await confirmAction({
      title: "New folder",
      subject: folder ? shortened(folder) : "",
      text: "A slash in its name makes folders in each other.",
      fields: [h("label.field", {}, h("span", {}, "Name"), field)],
      action: "Make the folder",
      danger: false,
    });
    if (!answer) return;
    const name = answer.name.replace(/^\/+|\/+$/g, "");
    try {
      const made = await this.#api.fetch("PUT", resource(this.#job.uid, joined(folder, name)), { query: { folder: 1 } });
      announce(`${shortened(name)} is ${made.status === 201 ? "made" : "there already"}`);
    } catch (error) {
      failure(`${shortened(name)} was not made`, error);
    }
    if (!this.#ending.signal.aborted && this.#folder.path === folder) this.go(folder);
  }

  #download(entry) {
    const name = nameOf(entry.path);
    return this.#save(resource(this.#job.uid, entry.path), {}, name, entry.path);
  }

  #archive(path) {
    const name = `${nameOf(path) || this.#job.name || this.#job.uid.slice(0, 8)}.tar`;
    return this.#save(`jobs/${encodeURIComponent(this.#job.uid)}/archive`, { include: maskOf(path) }, name, path);
  }

  async #save(path, query, name, source) {
    const stopping = new AbortController();
    const row = new DownloadRow(name, () => stopping.abort());
    transfers.get(this.#job.uid).append(row.element);
    const command = `pagent cp ${this.#job.uid.slice(0, 8)}:${quoted(source)} .`;
    const changed = (done, size) => row.update(done, size);
    try {
      const isSaved = await download(this.#api, path, { query, name, signal: stopping.signal, changed, command });
      row.end(isSaved ? "Downloaded" : "Not downloaded", isSaved);
    } catch (error) {
      const isStopped = error.name === "AbortError";
      row.end(isStopped ? "Cancelled" : `Failed: ${harmless(error.message)}`, isStopped);
    }
    announce(row.text);
  }

  async #preview(entry) {
    try {
      await preview(this.#api, this.#job.uid, entry, () => this.#download(entry));
    } catch (error) {
      failure(`${shortened(nameOf(entry.path))} could not be displayed`, error);
    }
  }

  async #delete(entry) {
    const label = shortened(entry.path);
    const target = resource(this.#job.uid, entry.path);
    try {
      // What the person has seen is deleted, and not a version that came after it.
      const tag = entry.type === "file" ? (await this.#api.fetch("HEAD", target)).headers.get("ETag") : null;
      const isDir = entry.type === "dir";
      const sure = await confirmAction({
        title: isDir ? "Delete the folder?" : "Delete the file?",
        subject: label,
        text: isDir
          ? "The folder and all that is in it are deleted. They cannot be brought back."
          : "It cannot be brought back.",
        action: "Delete",
      });
      if (!sure) return;
      const query = isDir ? { recursive: 1 } : {};
      await this.#api.fetch("DELETE", target, { query, headers: tag ? { "If-Match": tag } : {} });
      announce(`${label} is deleted`);
    } catch (error) {
      if (error.status === 412) failure(`${label} has changed, and was not deleted`, error);
      else failure(`${label} was not deleted`, error);
    }
    this.go(this.#folder.path);
  }
}

// A word of a command line.
function quoted(text) {
  const plain = harmless(text || ".");
  return /^[\w./-]+$/.test(plain) ? plain : `'${plain.replace(/'/g, "'\\''")}'`;
}
