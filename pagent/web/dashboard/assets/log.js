// The output of a job: the end of it, what comes next, and on demand what came before. The memory that it takes is bounded.

import { announce, failure } from "./dialog.js";
import { framed, h, icon, setAttribute, setText } from "./dom.js";
import * as format from "./format.js";
import { classes, parse, stripped } from "./ansi.js";
import { LineSplitter, overwritten } from "./lines.js";
import { backoff } from "./live.js";

const FIRST_BYTES = 128 * 1024;
const EARLIER_BYTES = 512 * 1024;
const CHUNK_LINES = 200;
const LINES_MAX = 20_000;
// Lines of one frame; while more wait, no more are read, and the agent pauses.
const FRAME_LINES = 1500;
const SEARCH_MS = 150;

const WRAP_KEY = "pagent-wrap";

// Mount the log of a job; return {end(), key(key)}.
export function mountLog(element, job, api) {
  return new LogView(element, job, api);
}

class LogView {
  #job;
  #api;
  #element;
  #stream = "stdout";
  #run = null;
  #follow = true;
  // Chunks of lines: {element, lines: [{offset, text, element}]}.
  #chunks = [];
  #lineCount = 0;
  #queue = [];
  #drained = null;
  #style = null;
  #splitter = null;
  #start = 0;
  #first = 0;
  #query = "";
  #hits = [];
  #hit = -1;
  #ended = false;
  #parts = {};
  #flush;

  constructor(element, job, api) {
    this.#job = job;
    this.#api = api;
    this.#element = element;
    this.#flush = framed(() => this.#drawQueue());
    this.#build();
    this.#begin();
  }

  end() {
    this.#run?.abort();
    this.#flush.cancel();
    this.#drained?.();
  }

  // --- controls ---

  #build() {
    const parts = this.#parts;
    const button = (name, label, onclick, pressed) => h("button", { type: "button", "data-action": name, "aria-pressed": pressed, onclick }, label);
    const stream = (name) => h("button", { type: "button", "data-stream": name, "aria-pressed": String(name === this.#stream), onclick: () => this.#switchTo(name) }, h("span", {}, name), h("span.number"));
    parts.streams = h("div.segments", { role: "group", "aria-label": "Stream" }, stream("stdout"), stream("stderr"));
    parts.follow = button("follow", "Follow", () => this.#setFollow(!this.#follow), "true");
    parts.wrap = button("wrap", "Wrap", () => this.#setWrap(), "false");
    parts.search = h("input", { type: "search", placeholder: "Search", "aria-label": "Search the log", autocomplete: "off", spellcheck: "false", oninput: () => this.#searchSoon() });
    parts.search.addEventListener("keydown", (event) => this.#searchKey(event));
    parts.found = h("span.found", { role: "status" });
    const step = (label, name, by) => h("button.icon-button", { type: "button", "aria-label": label, title: label, onclick: () => this.#goToHit(by) }, icon(name));
    parts.steps = h("span.steps", { hidden: true }, step("Previous match", "up", -1), step("Next match", "down", 1));
    parts.earlier = h("button.earlier", { type: "button", hidden: true, "data-action": "earlier", onclick: () => this.#loadEarlier() }, "Load earlier lines");
    parts.note = h("p.log-note", { role: "status" });
    parts.lines = h("div.log-lines");
    parts.unfinished = h("div.line.unfinished", { hidden: true });
    parts.view = h("div.log", { tabindex: "0", role: "region", "aria-label": "Log", id: "log" }, parts.earlier, parts.lines, parts.unfinished, parts.note);
    parts.view.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    parts.view.classList.toggle("is-wrapped", stored(WRAP_KEY) !== "off");
    setAttribute(parts.wrap, "aria-pressed", String(stored(WRAP_KEY) !== "off"));
    this.#element.append(
      h("div.log-bar", {}, parts.streams, parts.follow, parts.wrap, h("div.log-search", { role: "search" }, parts.search, parts.found, parts.steps)),
      parts.view,
    );
  }

  // Take a key of the page; return whether it is one of the log's.
  key(key) {
    if (key === "/") this.#parts.search.focus();
    else if (key === "f") this.#setFollow(!this.#follow);
    else if (key === "w") this.#setWrap();
    else if (key === "n" || key === "N") this.#goToHit(key === "n" ? 1 : -1);
    else return false;
    return true;
  }

  #setFollow(on) {
    this.#follow = on;
    setAttribute(this.#parts.follow, "aria-pressed", String(on));
    if (on) this.#toEnd();
  }

  #setWrap() {
    const on = this.#parts.view.classList.toggle("is-wrapped");
    store(WRAP_KEY, on ? "on" : "off");
    setAttribute(this.#parts.wrap, "aria-pressed", String(on));
  }

  #toEnd() {
    this.#parts.view.scrollTop = this.#parts.view.scrollHeight;
  }

  // The reader scrolls up to read, and back to the end to follow.
  #scrolled() {
    const { view } = this.#parts;
    const isAtEnd = view.scrollTop + view.clientHeight >= view.scrollHeight - 24;
    if (isAtEnd !== this.#follow && !this.#queue.length) {
      this.#follow = isAtEnd;
      setAttribute(this.#parts.follow, "aria-pressed", String(isAtEnd));
    }
  }

  // --- reading ---

  get #path() {
    return `jobs/${encodeURIComponent(this.#job.uid)}/logs`;
  }

  // Open the stream that has something: many programs log to their standard error.
  async #begin() {
    if (this.#job.removed_at || this.#job.agent === null) {
      this.#remembered();
      return;
    }
    const reason = this.#api.refusal("logs", { job: this.#job });
    if (reason) {
      setText(this.#parts.note, reason);
      return;
    }
    try {
      const [stdout, stderr] = await Promise.all([this.#bounds("stdout"), this.#bounds("stderr")]);
      this.#sizes(stdout, stderr);
      this.#switchTo(stdout.end === 0 && stderr.end > 0 ? "stderr" : "stdout");
    } catch (error) {
      setText(this.#parts.note, problem(error));
    }
  }

  #sizes(...bounds) {
    bounds.forEach(({ end }, index) => setText(this.#parts.streams.children[index].lastElementChild, end ? format.bytes(end) : "empty"));
  }

  // A job that is gone has no log any more; its agent remembers the end of its standard error.
  #remembered() {
    this.#parts.streams.hidden = this.#parts.follow.hidden = true;
    const lines = (this.#job.stderr ?? "").split("\n");
    if (lines.at(-1) === "") lines.pop();
    this.#queue.push(...lines.map((text) => ({ offset: 0, text })));
    this.#drawQueue();
    const gone = this.#job.agent === null ? "The job has no output: it is not at an agent." : "The job is removed, and its output with it.";
    setText(this.#parts.note, lines.length ? `${gone} This is the end of its standard error.` : gone);
  }

  async #bounds(stream) {
    const { headers } = await this.#api.fetch("HEAD", this.#path, { query: { stream } });
    return { start: Number(headers.get("X-Pagent-Start")), end: Number(headers.get("X-Pagent-Offset")) };
  }

  #switchTo(stream) {
    this.#run?.abort();
    this.#run = new AbortController();
    this.#stream = stream;
    this.#clear();
    for (const each of this.#parts.streams.children) setAttribute(each, "aria-pressed", String(each.dataset.stream === stream));
    this.#setFollow(true);
    this.#read(this.#run.signal);
  }

  #clear() {
    this.#chunks = [];
    this.#lineCount = 0;
    this.#queue = [];
    this.#hits = [];
    this.#hit = -1;
    this.#style = null;
    this.#ended = false;
    this.#parts.lines.replaceChildren();
    this.#parts.unfinished.hidden = true;
    setText(this.#parts.note, "Reading…");
  }

  // Read to the end of the job's output, over lost connections.
  async #read(signal) {
    let offset = null;
    for (let attempt = 0; !signal.aborted; attempt += 1) {
      try {
        offset ??= await this.#end(signal);
        const before = offset;
        offset = await this.#readOnce(offset, signal, (next) => {
          offset = next;
        });
        if (offset !== before) attempt = 0;
        this.#finish();
        return;
      } catch (error) {
        if (signal.aborted) return;
        setText(this.#parts.note, `${problem(error)} ${error.status >= 400 && error.status < 500 ? "" : "Trying again…"}`);
        if (error.status >= 400 && error.status < 500) return;
        await new Promise((resolve) => setTimeout(resolve, backoff(attempt)));
      }
    }
  }

  async #end(signal) {
    const { start, end } = await this.#bounds(this.#stream);
    if (signal.aborted) throw new Error("ended");
    this.#start = start;
    return Math.max(start, end - FIRST_BYTES);
  }

  async #readOnce(from, signal, moved) {
    const query = { stream: this.#stream, offset: from, follow: 1 };
    const response = await this.#api.fetch("GET", this.#path, { query, signal });
    let offset = Number(response.headers.get("X-Pagent-Start"));
    this.#start = Math.min(this.#start, offset);
    if (this.#splitter === null || this.#splitter.from !== offset) this.#from(offset);
    setText(this.#parts.note, "");
    const reader = response.body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return offset;
      if (signal.aborted) return offset;
      offset += value.length;
      this.#take(this.#splitter.feed(value));
      this.#splitter.from = offset;
      moved(offset);
      if (this.#queue.length > FRAME_LINES) await new Promise((resolve) => { this.#drained = resolve; });
    }
  }

  // Begin to split at an offset; the first line may be a part of one.
  #from(offset) {
    this.#splitter = new LineSplitter(offset);
    this.#splitter.from = offset;
    if (!this.#chunks.length) this.#first = offset;
    this.#earlier();
  }

  #take(lines) {
    for (const line of lines) this.#queue.push(line);
    this.#flush();
  }

  #finish() {
    this.#ended = true;
    this.#flush();
    setText(this.#parts.note, this.#lineCount || this.#queue.length || this.#splitter?.unfinished ? "End of the output." : "The job has written nothing here.");
  }

  #earlier() {
    const { earlier } = this.#parts;
    earlier.hidden = this.#first <= this.#start || this.#lineCount >= LINES_MAX;
    setText(earlier, `Load earlier lines (${format.bytes(this.#first - this.#start)} before these)`);
  }

  // --- drawing ---

  #drawQueue() {
    const lines = this.#queue.splice(0, FRAME_LINES);
    const isMore = this.#queue.length > 0;
    for (const line of lines) this.#append(line);
    this.#trim();
    this.#drawUnfinished();
    if (this.#follow) this.#toEnd();
    if (this.#query && lines.length) this.#count();
    if (isMore) this.#flush();
    else {
      this.#drained?.();
      this.#drained = null;
    }
  }

  #append(line) {
    let chunk = this.#chunks.at(-1);
    if (!chunk || chunk.lines.length >= CHUNK_LINES) {
      chunk = { element: h("div.chunk"), lines: [] };
      this.#chunks.push(chunk);
      this.#parts.lines.append(chunk.element);
    }
    const drawn = this.#lineElement(line.text);
    chunk.element.append(drawn.element);
    chunk.lines.push({ offset: line.offset, ...drawn });
    this.#lineCount += 1;
    if (this.#query && drawn.text.toLowerCase().includes(this.#query)) this.#mark(drawn.element);
  }

  #lineElement(raw) {
    const visible = overwritten(raw);
    const { spans, style } = parse(visible, this.#style);
    this.#style = style;
    const element = h("div.line");
    for (const span of spans) {
      const text = harmlessLine(span.text);
      const names = classes(span.style);
      element.append(names ? h("span", { class: names }, text) : text);
    }
    return { element, text: stripped(visible) };
  }

  #drawUnfinished() {
    const { unfinished } = this.#parts;
    const line = this.#splitter?.unfinished ?? null;
    unfinished.hidden = line === null;
    if (line) setText(unfinished, harmlessLine(stripped(overwritten(line.text))));
  }

  // Forget the oldest lines.
  #trim() {
    while (this.#lineCount > LINES_MAX + CHUNK_LINES && this.#chunks.length > 1) {
      const chunk = this.#chunks.shift();
      this.#lineCount -= chunk.lines.length;
      chunk.element.remove();
      this.#first = this.#chunks[0].lines[0].offset;
      this.#hits = this.#hits.filter((hit) => hit.isConnected);
      this.#earlier();
    }
  }

  // --- earlier lines ---

  async #loadEarlier() {
    const { earlier, view } = this.#parts;
    const from = Math.max(this.#start, this.#first - EARLIER_BYTES);
    setAttribute(earlier, "aria-disabled", "true");
    try {
      const bytes = await this.#part(from, this.#first);
      const height = view.scrollHeight;
      this.#prepend(bytes);
      view.scrollTop += view.scrollHeight - height;
      announce("Earlier lines are loaded.");
    } catch (error) {
      if (error.name !== "AbortError") failure("The earlier lines could not be read.", error);
    } finally {
      setAttribute(earlier, "aria-disabled", null);
    }
  }

  // Read the bytes from one offset to another one; the API has no end of a range, so the rest is cancelled.
  async #part(from, to) {
    const { signal } = this.#run;
    const response = await this.#api.fetch("GET", this.#path, { query: { stream: this.#stream, offset: from }, signal });
    const begin = Number(response.headers.get("X-Pagent-Start"));
    const reader = response.body.getReader();
    const pieces = [];
    let have = begin;
    while (have < to) {
      const { done, value } = await reader.read();
      if (done) break;
      pieces.push(value.subarray(0, to - have));
      have += value.length;
    }
    await reader.cancel().catch(() => {});
    return { begin, pieces };
  }

  #prepend({ begin, pieces }) {
    const splitter = new LineSplitter(begin);
    const lines = pieces.flatMap((piece) => splitter.feed(piece));
    const rest = splitter.unfinished;
    const style = this.#style;
    this.#style = null;
    // The first line of before may have been a part of one, whose beginning is here.
    const old = this.#chunks[0]?.lines[0];
    if (rest && old) {
      const whole = this.#lineElement(rest.text + old.text);
      old.element.replaceWith(whole.element);
      Object.assign(old, whole, { offset: rest.offset });
    }
    const chunks = [];
    for (let at = 0; at < lines.length; at += CHUNK_LINES) {
      const drawn = lines.slice(at, at + CHUNK_LINES).map((line) => ({ offset: line.offset, ...this.#lineElement(line.text) }));
      chunks.push({ element: h("div.chunk", {}, ...drawn.map((line) => line.element)), lines: drawn });
    }
    this.#style = style;
    this.#chunks.unshift(...chunks);
    this.#parts.lines.prepend(...chunks.map((chunk) => chunk.element));
    this.#lineCount += lines.length;
    this.#first = begin;
    this.#start = Math.min(this.#start, begin) || begin;
    this.#earlier();
    if (this.#query) this.#search();
  }

  // --- search ---

  #timer = null;

  #searchSoon() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#search(), SEARCH_MS);
  }

  #search() {
    this.#query = this.#parts.search.value.toLowerCase();
    this.#hits.forEach((hit) => hit.classList.remove("is-hit", "is-current"));
    this.#hits = [];
    this.#hit = -1;
    if (this.#query) {
      for (const chunk of this.#chunks) {
        for (const line of chunk.lines) if (line.text.toLowerCase().includes(this.#query)) this.#mark(line.element);
      }
    }
    this.#count();
  }

  #mark(element) {
    element.classList.add("is-hit");
    this.#hits.push(element);
  }

  #count() {
    const number = this.#hits.length;
    setText(this.#parts.found, this.#query ? (number ? `${this.#hit >= 0 ? `${this.#hit + 1} of ` : ""}${format.plural(number, "line")}` : "nothing found") : "");
    this.#parts.steps.hidden = number === 0;
  }

  #searchKey(event) {
    if (event.key === "Enter") {
      if (this.#query !== this.#parts.search.value.toLowerCase()) this.#search();
      this.#goToHit(event.shiftKey ? 1 : -1);
    } else if (event.key === "Escape" && this.#parts.search.value) {
      this.#parts.search.value = "";
      this.#search();
    } else return;
    event.preventDefault();
  }

  // The newest match first: the end of a log is what is looked for.
  #goToHit(by) {
    const number = this.#hits.length;
    if (!number) return;
    this.#hits[this.#hit]?.classList.remove("is-current");
    this.#hit = this.#hit < 0 ? (by < 0 ? number - 1 : 0) : (this.#hit + by + number) % number;
    const line = this.#hits[this.#hit];
    line.classList.add("is-current");
    this.#setFollow(false);
    line.scrollIntoView({ block: "center" });
    this.#count();
  }
}

// A tab is kept; every other control character is displayed as what it is.
function harmlessLine(text) {
  return text.split("\t").map(format.harmless).join("\t");
}

function problem(error) {
  return error.status ? `${error.message}${error.requestId ? ` (request ${error.requestId})` : ""}` : "The connection is lost.";
}

function stored(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

function store(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    // It holds for this page.
  }
}
