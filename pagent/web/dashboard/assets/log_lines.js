// The lines of a log as elements, in chunks that the browser need not lay out while they are not in view.

import { classes, parse, stripped } from "./ansi.js";
import { h, setText } from "./dom.js";
import { harmless } from "./format.js";
import { overwritten } from "./lines.js";

const CHUNK_LINES = 200;
const LINES_MAX = 20_000;
// Characters, as they came and as they are displayed: a line may have 16,384 of them.
const SIZE_MAX = 16 * 1024 * 1024;

export class LogLines {
  // {element, lines: [{offset, text, size, element}]}
  #chunks = [];
  #style = null;

  constructor() {
    this.list = h("div.log-lines");
    this.unfinished = h("div.line.unfinished", { hidden: true });
    this.count = 0;
    this.size = 0;
  }

  // Whether there are as many lines as are kept while the end is followed.
  get isFull() {
    return this.count >= LINES_MAX || this.size >= SIZE_MAX;
  }

  // Whether earlier lines may be added: a reader of the beginning has twice as many.
  get hasRoom() {
    return this.count < 2 * LINES_MAX && this.size < 2 * SIZE_MAX;
  }

  clear() {
    this.#chunks = [];
    this.#style = null;
    this.count = 0;
    this.size = 0;
    this.list.replaceChildren();
    this.unfinished.hidden = true;
  }

  // The offset of the first line; null without one.
  get first() {
    return this.#chunks[0]?.lines[0].offset ?? null;
  }

  // Yield {text, element} of all lines.
  *lines() {
    for (const chunk of this.#chunks) yield* chunk.lines;
  }

  // Append lines, {offset, text}; return them as drawn.
  append(lines) {
    return lines.map((line) => {
      let chunk = this.#chunks.at(-1);
      if (!chunk || chunk.lines.length >= CHUNK_LINES) {
        chunk = { element: h("div.chunk"), lines: [] };
        this.#chunks.push(chunk);
        this.list.append(chunk.element);
      }
      const drawn = this.#draw(line);
      chunk.element.append(drawn.element);
      chunk.lines.push(drawn);
      this.#counted(drawn, 1);
      return drawn;
    });
  }

  // Put lines before the first one, which continues ``rest`` if there is one.
  prepend(lines, rest) {
    const style = this.#style;
    this.#style = null;
    const old = this.#chunks[0]?.lines[0];
    if (rest && old) {
      const whole = this.#draw({ offset: rest.offset, text: rest.text + old.raw });
      old.element.replaceWith(whole.element);
      this.size += whole.size - old.size;
      Object.assign(old, whole);
    }
    const chunks = [];
    for (let at = 0; at < lines.length; at += CHUNK_LINES) {
      const drawn = lines.slice(at, at + CHUNK_LINES).map((line) => this.#draw(line));
      chunks.push({ element: h("div.chunk", {}, ...drawn.map((line) => line.element)), lines: drawn });
    }
    this.#style = style;
    this.#chunks.unshift(...chunks);
    this.list.prepend(...chunks.map((chunk) => chunk.element));
    for (const chunk of chunks) chunk.lines.forEach((line) => this.#counted(line, 1));
  }

  // Forget the oldest lines, if there are too many; return whether there were.
  trim() {
    let isTrimmed = false;
    while ((this.count > LINES_MAX + CHUNK_LINES || this.size > SIZE_MAX) && this.#chunks.length > 1) {
      const chunk = this.#chunks.shift();
      chunk.lines.forEach((line) => this.#counted(line, -1));
      chunk.element.remove();
      isTrimmed = true;
    }
    return isTrimmed;
  }

  #counted({ size }, sign) {
    this.count += sign;
    this.size += sign * size;
  }

  // Draw the line that has no end yet; null: there is none.
  setUnfinished(line) {
    this.unfinished.hidden = line === null;
    if (line) setText(this.unfinished, harmlessLine(stripped(overwritten(line.text))));
  }

  #draw({ offset, text: raw }) {
    const visible = overwritten(raw);
    const { spans, style } = parse(visible, this.#style);
    this.#style = style;
    const element = h("div.line");
    let size = raw.length;
    for (const span of spans) {
      const names = classes(span.style);
      const text = harmlessLine(span.text);
      element.append(names ? h("span", { class: names }, text) : text);
      size += text.length;
    }
    return { offset, raw, text: stripped(visible), size, element };
  }
}

// A tab is kept; every other control character is displayed as its code point.
function harmlessLine(text) {
  return text.includes("\t") ? text.split("\t").map(harmless).join("\t") : harmless(text);
}
