// The entries of one folder of a job, which come in pages, and their order.

import { isValid, nameOf, resource } from "./paths.js";

const PAGE = 500;
// Entries that the page keeps. An order other than that of the server needs all of them.
export const ENTRIES_MAX = 50_000;

const names = new Intl.Collator(undefined, { numeric: true });
const KEYS = {
  name: (a, b) => names.compare(nameOf(a.path), nameOf(b.path)) || (a.path < b.path ? -1 : 1),
  size: (a, b) => (a.size ?? 0) - (b.size ?? 0),
  mtime: (a, b) => (Date.parse(a.mtime ?? "") || 0) - (Date.parse(b.mtime ?? "") || 0),
};

export class Folder {
  #api;
  #uid;
  #next = null;

  constructor(api, uid, path) {
    this.#api = api;
    this.#uid = uid;
    this.path = path;
    this.entries = [];
    this.order = { key: "name", isDescending: false };
  }

  // Whether all entries are here.
  get isWhole() {
    return this.#next === null;
  }

  get isFull() {
    return this.entries.length >= ENTRIES_MAX;
  }

  // Load the first page, or the next one.
  async load(signal) {
    const query = { list: 1, limit: PAGE, after: this.#next };
    const page = await this.#api.get(resource(this.#uid, this.path), query, signal);
    this.entries.push(...page.entries.filter((entry) => isValid(entry.path)));
    this.#next = page.next;
    if (this.isWhole) this.#sort();
  }

  // Sort by name, size or mtime; the same key again turns the order round. All entries have to be here.
  sortBy(key) {
    const isDescending = this.order.key === key ? !this.order.isDescending : key !== "name";
    this.order = { key, isDescending };
    this.#sort();
  }

  #sort() {
    const { key, isDescending } = this.order;
    const sign = isDescending ? -1 : 1;
    const isDir = (entry) => (entry.type === "dir" ? 0 : 1);
    this.entries.sort((a, b) => isDir(a) - isDir(b) || sign * KEYS[key](a, b) || KEYS.name(a, b));
  }
}
