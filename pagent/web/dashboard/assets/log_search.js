// The search in a log: marks the lines that have a text, and goes from one to the next.

import { h, icon, setText } from "./dom.js";
import { plural } from "./format.js";

const SEARCH_MS = 150;

export class LogSearch {
  #lines;
  #onGo;
  #query = "";
  #hits = [];
  #at = -1;
  #timer = null;
  #found = h("span.found", { role: "status" });
  #steps;

  // ``lines``: a LogLines; ``onGo``: called with the line to go to.
  constructor(lines, onGo) {
    this.#lines = lines;
    this.#onGo = onGo;
    this.field = h("input", {
      type: "search",
      placeholder: "Search",
      "aria-label": "Search the log",
      autocomplete: "off",
      spellcheck: "false",
      oninput: () => this.#soon(),
    });
    this.field.addEventListener("keydown", (event) => this.#key(event));
    const step = (label, name, by) =>
      h(
        "button.icon-button",
        { type: "button", "aria-label": label, title: label, onclick: () => this.go(by) },
        icon(name),
      );
    this.#steps = h("span.steps", { hidden: true }, step("Previous match", "up", -1), step("Next match", "down", 1));
    this.element = h("div.log-search", { role: "search" }, this.field, this.#found, this.#steps);
  }

  end() {
    clearTimeout(this.#timer);
  }

  // Look through all lines again.
  again() {
    this.#hits.forEach((hit) => hit.classList.remove("is-hit", "is-current"));
    this.#query = this.field.value.toLowerCase();
    this.#hits = [];
    this.#at = -1;
    this.look(this.#lines.lines());
  }

  // Look through lines that have come; those that are gone are no matches any more.
  look(lines, isTrimmed = false) {
    if (isTrimmed) this.#forget();
    if (this.#query) {
      for (const line of lines) if (line.text.toLowerCase().includes(this.#query)) this.#mark(line.element);
    }
    this.#count();
  }

  #forget() {
    const current = this.#hits[this.#at];
    this.#hits = this.#hits.filter((hit) => hit.isConnected);
    this.#at = this.#hits.indexOf(current);
  }

  #mark(element) {
    element.classList.add("is-hit");
    this.#hits.push(element);
  }

  #count() {
    const number = this.#hits.length;
    const place = this.#at >= 0 ? `${this.#at + 1} of ` : "";
    setText(this.#found, !this.#query ? "" : number ? `${place}${plural(number, "line")}` : "nothing found");
    this.#steps.hidden = number === 0;
  }

  #soon() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.again(), SEARCH_MS);
  }

  #key(event) {
    if (event.key === "Enter") {
      if (this.#query !== this.field.value.toLowerCase()) this.again();
      this.go(event.shiftKey ? 1 : -1);
    } else if (event.key === "Escape" && this.field.value) {
      this.field.value = "";
      this.again();
    } else return;
    event.preventDefault();
  }

  // Go to another match; the newest one is the first, because readers look for the end of a log.
  go(by) {
    const number = this.#hits.length;
    if (!number) return;
    this.#hits[this.#at]?.classList.remove("is-current");
    this.#at = this.#at < 0 ? (by < 0 ? number - 1 : 0) : (this.#at + by + number) % number;
    this.#hits[this.#at].classList.add("is-current");
    this.#onGo(this.#hits[this.#at]);
    this.#count();
  }
}
