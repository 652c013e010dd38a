// A table that draws only the rows in view, and changes only the cells whose text is another one.
//
// The rows are blocks of one height, so a table of 2,000 rows costs as much as one of 30. ARIA gives it the semantics of a
// table; aria-rowcount and aria-rowindex count the rows that are not drawn as well.

import { framed, h, icon, setAttribute, setText } from "./dom.js";

const OVERSCAN = 6;
const FALLBACK_HEIGHT = 36;

// A column: {key, label, width, update(cell, row), sort(row), numeric, descending, title}. One of them makes a link.
// ``width``: a track of a CSS grid. ``descending``: the first click sorts the largest first.
export class Table {
  #columns;
  #rows = [];
  #views = new Map();
  #current = null;
  #height = FALLBACK_HEIGHT;
  #options;
  #body;
  #head;
  #sort;
  #observer;
  #scroll;

  // ``options``: {name, label, columns, sort: {key, descending}, keyOf(row), onOpen(row), onSort(sort), onRow(element, row)}
  constructor(options) {
    this.#options = options;
    this.#columns = options.columns;
    this.#sort = options.sort;
    this.#head = h("div.table-row.table-head", { role: "row", "aria-rowindex": "1" });
    this.#body = h("div.table-body", { role: "rowgroup" });
    this.table = h(
      "div.table",
      { role: "table", "data-table": options.name, "aria-label": options.label, "aria-colcount": this.#columns.length },
      h("div.table-head-group", { role: "rowgroup" }, this.#head),
      this.#body,
    );
    this.table.style.setProperty("--columns", this.#columns.map(({ width }) => width).join(" "));
    this.element = h("div.table-wrap", { tabindex: "-1" }, this.table);
    // All rows in view are brought up to date, or only those that come into view while the reader scrolls.
    this.draw = framed(() => this.#draw(true));
    this.#scroll = framed(() => this.#draw(false));
    this.element.addEventListener("scroll", this.#scroll, { passive: true });
    this.#body.addEventListener("keydown", (event) => this.#key(event));
    this.#body.addEventListener("click", (event) => this.#click(event));
    this.#body.addEventListener("focusin", (event) => this.#focused(event));
    this.#observer = new ResizeObserver(() => this.#measure());
    this.#observer.observe(this.element);
    this.#paper.addEventListener("change", this.#printed);
    this.#drawHead();
  }

  // On paper all rows are in view.
  #paper = matchMedia("print");
  #printed = () => this.#draw(true);

  end() {
    this.#observer.disconnect();
    this.#paper.removeEventListener("change", this.#printed);
    this.draw.cancel();
    this.#scroll.cancel();
  }

  get sort() {
    return this.#sort;
  }

  set sort(sort) {
    this.#sort = sort;
    this.#drawHead();
  }

  get columns() {
    return this.#columns;
  }

  get scrollTop() {
    return this.element.scrollTop;
  }

  // Take the rows to display, in no order.
  set rows(rows) {
    this.#rows = this.#sorted(rows);
    this.draw();
  }

  get rows() {
    return this.#rows;
  }

  #sorted(rows) {
    const { key, descending } = this.#sort;
    const column = this.#columns.find((each) => each.key === key) ?? this.#columns[0];
    return sorted(rows, column.sort, descending, this.#options.keyOf);
  }

  // --- the head ---

  #drawHead() {
    this.#head.replaceChildren(...this.#columns.map((column) => this.#headCell(column)));
  }

  #headCell(column) {
    const { key, descending } = this.#sort;
    const isSorted = column.key === key;
    const direction = isSorted ? (descending ? "descending" : "ascending") : null;
    const cell = h(`div.cell.c-${column.key}${column.numeric ? ".numeric" : ""}`, {
      role: "columnheader",
      title: column.title,
    });
    if (!column.sort) {
      cell.append(h("span", {}, column.label));
      return cell;
    }
    setAttribute(cell, "aria-sort", direction ?? "none");
    const mark = isSorted ? icon(descending ? "down" : "up") : null;
    cell.append(
      h(
        "button",
        { type: "button", "data-sort": column.key, onclick: () => this.sortBy(column.key) },
        h("span", {}, column.label),
        mark,
      ),
    );
    return cell;
  }

  // Sort by a column; by the same one again: in the other direction.
  sortBy(key) {
    const column = this.#columns.find((each) => each.key === key);
    const isSame = this.#sort.key === key;
    this.#sort = { key, descending: isSame ? !this.#sort.descending : Boolean(column.descending) };
    const hasFocus = this.#head.contains(document.activeElement);
    this.#drawHead();
    if (hasFocus) this.#head.querySelector(`[data-sort="${key}"]`).focus();
    this.#rows = this.#sorted(this.#rows);
    this.draw();
    this.#options.onSort?.(this.#sort);
  }

  // --- the rows ---

  #measure() {
    this.#height = parseFloat(getComputedStyle(this.element).getPropertyValue("--row-height")) || FALLBACK_HEIGHT;
    this.#draw(true);
  }

  #draw(all) {
    const rows = this.#rows;
    const height = this.#height;
    const top = this.element.scrollTop;
    const first = this.#paper.matches ? 0 : Math.max(0, Math.floor(top / height) - OVERSCAN);
    const end = Math.ceil((top + this.element.clientHeight) / height) + OVERSCAN;
    const last = this.#paper.matches ? rows.length : Math.min(rows.length, end);
    const wanted = new Map();
    for (let index = first; index < last; index += 1) wanted.set(this.#options.keyOf(rows[index]), index);
    const spare = this.#drop(wanted);
    setAttribute(this.table, "aria-rowcount", String(rows.length + 1));
    setStyle(this.#body, "height", `${rows.length * height}px`);
    let cursor = this.#body.firstElementChild;
    for (const [key, index] of wanted) {
      const known = this.#views.get(key);
      const view = known ?? this.#obtain(key, spare);
      if (view.element === cursor) cursor = cursor.nextElementSibling;
      else this.#body.insertBefore(view.element, cursor);
      if (all || !known) this.#update(view, rows[index], index);
    }
    this.#tabStop(wanted);
  }

  // Take away the rows that are not in view; their elements are used again.
  #drop(wanted) {
    const spare = [];
    for (const [key, view] of this.#views) {
      if (wanted.has(key)) continue;
      this.#views.delete(key);
      if (view.element.contains(document.activeElement)) this.element.focus({ preventScroll: true });
      view.element.remove();
      spare.push(view);
    }
    return spare;
  }

  #obtain(key, spare) {
    const view = spare.pop() ?? this.#make();
    this.#views.set(key, view);
    return view;
  }

  #make() {
    const cells = this.#columns.map((column) =>
      h(`div.cell.c-${column.key}${column.numeric ? ".numeric" : ""}`, { role: "cell", "data-label": column.label }),
    );
    return { element: h("div.table-row", { role: "row" }, ...cells), cells, link: null };
  }

  #update(view, row, index) {
    const { element, cells } = view;
    setStyle(element, "transform", `translateY(${index * this.#height}px)`);
    setAttribute(element, "aria-rowindex", String(index + 2));
    setAttribute(element, "data-key", this.#options.keyOf(row));
    this.#columns.forEach((column, at) => column.update(cells[at], row));
    view.link ??= element.querySelector("a");
    this.#options.onRow?.(element, row);
  }

  // --- keys ---

  // One row takes part in the order of Tab; arrows move to the others.
  #tabStop(wanted) {
    if (!wanted.has(this.#current)) this.#current = wanted.keys().next().value ?? null;
    for (const [key, { link }] of this.#views) setAttribute(link, "tabindex", key === this.#current ? "0" : "-1");
  }

  #focused(event) {
    const key = event.target.closest("[data-key]")?.dataset.key;
    if (key && key !== this.#current) {
      this.#current = key;
      this.#scroll();
    }
  }

  #click(event) {
    if (event.target.closest("a, button, input") || String(getSelection())) return;
    const key = event.target.closest("[data-key]")?.dataset.key;
    const row = this.#rows.find((each) => this.#options.keyOf(each) === key);
    if (row) this.#options.onOpen?.(row);
  }

  #key(event) {
    if (this.handleKey(event.key)) event.preventDefault();
  }

  // Move between rows; return whether it is a key that does. The current row is the first one that is moved to.
  handleKey(key) {
    const page = Math.max(1, Math.floor(this.element.clientHeight / this.#height) - 1);
    const steps = {
      ArrowDown: 1,
      j: 1,
      ArrowUp: -1,
      k: -1,
      PageDown: page,
      PageUp: -page,
      Home: -Infinity,
      End: Infinity,
    };
    if (!(key in steps) || this.#rows.length === 0) return false;
    const has = this.#body.contains(document.activeElement);
    const at = this.#rows.findIndex((row) => this.#options.keyOf(row) === this.#current);
    const next = has || Math.abs(steps[key]) > 1 ? at + steps[key] : at;
    this.focusRow(Math.min(this.#rows.length - 1, Math.max(0, next)));
    return true;
  }

  focusRow(index) {
    this.#current = this.#options.keyOf(this.#rows[index]);
    const top = index * this.#height;
    const headHeight = this.#head.offsetHeight;
    if (top < this.element.scrollTop) this.element.scrollTop = top;
    else if (top + this.#height + headHeight > this.element.scrollTop + this.element.clientHeight) {
      this.element.scrollTop = top + this.#height + headHeight - this.element.clientHeight;
    }
    this.#draw(false);
    this.#views.get(this.#current)?.link.focus({ preventScroll: true });
  }
}

function setStyle(element, name, value) {
  if (element.style[name] !== value) element.style[name] = value;
}

const collator = new Intl.Collator(undefined, { numeric: true });

// Return rows sorted by a value, those without one last; equal ones by their key, so that rows do not jump.
export function sorted(rows, valueOf, descending, keyOf) {
  const keyed = rows.map((row) => ({ row, value: valueOf(row), key: keyOf(row) }));
  const sign = descending ? -1 : 1;
  keyed.sort((a, b) => {
    const isNone = (a.value === null || a.value === undefined) - (b.value === null || b.value === undefined);
    if (isNone) return isNone;
    return sign * compare(a.value, b.value) || (a.key < b.key ? -1 : a.key > b.key ? 1 : 0);
  });
  return keyed.map(({ row }) => row);
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (a === b || a === null || a === undefined) return 0;
  return collator.compare(String(a), String(b));
}

// The update functions of columns: text, with its title where it may be cut.
export function textCell(textOf, titleOf = null) {
  return (cell, row) => {
    setText(cell, textOf(row));
    if (titleOf) setAttribute(cell, "title", titleOf(row));
  };
}
