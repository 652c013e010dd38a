// The output of a job: its end, new output, and on demand earlier output. The memory for it is bounded.

import { announce, failure } from "./dialog.js";
import { framed, h, setAttribute, setText } from "./dom.js";
import * as format from "./format.js";
import { tokenButton } from "./chips.js";
import { LineSplitter } from "./lines.js";
import { backoff } from "./live.js";
import { LogLines } from "./log_lines.js";
import { isRefused, LogReader, problem } from "./log_reader.js";
import { LogSearch } from "./log_search.js";
import { stored, store } from "./stored.js";
import { visible } from "./visibility.js";

const FIRST_BYTES = 128 * 1024;
const EARLIER_BYTES = 512 * 1024;
// Lines, and their characters, of one frame; while more wait, no more are read, and the agent pauses.
const FRAME_LINES = 1500;
const FRAME_SIZE = 1024 * 1024;
const MOVED_MS = 1000;
const END_PX = 24;
const WRAP = "wrap";
const STREAMS = ["stdout", "stderr"];

// Mount the log of a job; return {end(), key(key)}.
export function mountLog(element, job, api) {
  return new LogView(element, job, api);
}

class LogView {
  #job;
  #api;
  #reader;
  #lines = new LogLines();
  #search;
  #parts = {};
  #stream = "stdout";
  #run = null;
  #follow = true;
  #queue = [];
  #drained = null;
  #splitter = null;
  // Offsets: of the first byte that the agent has, and of the first one here.
  #start = 0;
  #first = 0;
  // When the reader has last moved the view.
  #movedAt = -Infinity;
  #flush = framed(() => this.#drawQueue());
  #observer;
  #over = new AbortController();

  constructor(element, job, api) {
    this.#job = job;
    this.#api = api;
    this.#reader = new LogReader(api, job.uid);
    this.#search = new LogSearch(this.#lines, (line) => this.#goTo(line));
    this.#build(element);
    // What has ended the stream of events, as a night's sleep, may have ended this connection without a word.
    api.addEventListener("lost", () => this.#reader.renew(), { signal: this.#over.signal });
    this.#begin();
  }

  end() {
    this.#over.abort();
    this.#run?.abort();
    this.#observer.disconnect();
    this.#flush.cancel();
    this.#search.end();
    this.#release();
  }

  // --- controls ---

  #build(element) {
    const parts = this.#parts;
    const toggle = (name, label, onclick, title) =>
      h("button", { type: "button", "data-action": name, title, onclick }, label);
    const stream = (name) =>
      h(
        "button",
        { type: "button", "data-stream": name, "aria-pressed": "false", onclick: () => this.#switchTo(name) },
        h("span", {}, name),
        h("span.number"),
      );
    parts.streams = h("div.segments", { role: "group", "aria-label": "Stream" }, ...STREAMS.map(stream));
    parts.follow = toggle("follow", "Follow", () => this.#setFollow(!this.#follow), "Keep the end in view (f)");
    parts.wrap = toggle("wrap", "Wrap", () => this.#setWrap(stored(WRAP) === "off"), "Wrap long lines (w)");
    parts.earlier = h("button.earlier", {
      type: "button",
      hidden: true,
      "data-action": "earlier",
      onclick: () => this.#loadEarlier(),
    });
    parts.note = h("p.log-note", { role: "status" });
    parts.view = h(
      "div.log",
      { tabindex: "0", role: "region", "aria-label": "Log", id: "log" },
      parts.earlier,
      this.#lines.list,
      this.#lines.unfinished,
      parts.note,
    );
    element.append(h("div.log-bar", {}, parts.streams, parts.follow, parts.wrap, this.#search.element), parts.view);
    this.#setWrap(stored(WRAP) !== "off");
    this.#setFollow(true);
    this.#watch(parts.view);
  }

  // Lines that come into view, and fonts, change the height: the end stays in view while it is followed.
  #watch(view) {
    this.#observer = new ResizeObserver(() => this.#follow && this.#toEnd());
    [view, this.#lines.list].forEach((each) => this.#observer.observe(each));
    const options = { passive: true, signal: this.#over.signal };
    const moved = () => {
      this.#movedAt = performance.now();
    };
    ["wheel", "touchmove", "pointerdown", "keydown"].forEach((name) => view.addEventListener(name, moved, options));
    view.addEventListener("scroll", () => this.#scrolled(), options);
  }

  // Take a key of the page; return whether it is one of the log's.
  key(key) {
    if (key === "/") this.#search.field.focus();
    else if (key === "f") this.#setFollow(!this.#follow);
    else if (key === "w") this.#setWrap(stored(WRAP) === "off");
    else if (key === "n" || key === "N") this.#search.go(key === "n" ? 1 : -1);
    else return false;
    return true;
  }

  #setFollow(on) {
    this.#follow = on;
    setAttribute(this.#parts.follow, "aria-pressed", String(on));
    if (!on) return;
    this.#toEnd();
    if (this.#queue.length) {
      setText(this.#parts.note, "");
      this.#flush();
    }
  }

  #setWrap(on) {
    store(WRAP, on ? "on" : "off");
    this.#parts.view.classList.toggle("is-wrapped", on);
    setAttribute(this.#parts.wrap, "aria-pressed", String(on));
  }

  #toEnd() {
    this.#parts.view.scrollTop = this.#parts.view.scrollHeight;
  }

  #goTo(line) {
    this.#setFollow(false);
    line.scrollIntoView({ block: "center" });
  }

  // The reader scrolls up to read, and back to the end to follow. Other scrolling has causes here.
  #scrolled() {
    if (performance.now() - this.#movedAt > MOVED_MS) return;
    const { view } = this.#parts;
    const isAtEnd = view.scrollTop + view.clientHeight >= view.scrollHeight - END_PX;
    if (isAtEnd !== this.#follow) this.#setFollow(isAtEnd);
  }

  // --- reading ---

  // Open the stream that has something: many programs log to their standard error.
  async #begin() {
    const reason = this.#api.refusal("logs", { job: this.#job });
    if (this.#job.removed_at || this.#job.agent === null) this.#remembered();
    else if (reason) this.#parts.note.append(reason, " ", tokenButton(this.#api));
    else await this.#persist(() => this.#open(), this.#over.signal);
  }

  async #open() {
    const { signal } = this.#over;
    const ends = await Promise.all(STREAMS.map(async (stream) => (await this.#reader.bounds(stream, signal)).end));
    if (signal.aborted) return;
    STREAMS.forEach((stream, index) => this.#drawSize(stream, ends[index]));
    this.#switchTo(ends[0] === 0 && ends[1] > 0 ? "stderr" : "stdout");
  }

  #drawSize(stream, size) {
    const button = this.#parts.streams.querySelector(`[data-stream="${stream}"]`);
    setText(button.lastElementChild, size ? format.bytes(size) : "empty");
  }

  // A job that is gone has no log any more; its agent remembers the end of its standard error.
  #remembered() {
    this.#parts.streams.hidden = this.#parts.follow.hidden = true;
    const text = (this.#job.stderr ?? "").replace(/\n$/, "");
    if (text) this.#lines.append(text.split("\n").map((line) => ({ offset: 0, text: line })));
    const gone =
      this.#job.agent === null
        ? "The job is not at an agent, and has no output."
        : "The job is removed, and its output with it.";
    setText(this.#parts.note, text ? `${gone} This is the end of its standard error.` : gone);
  }

  #switchTo(stream) {
    this.#run?.abort();
    this.#release();
    this.#run = new AbortController();
    this.#stream = stream;
    this.#queue = [];
    this.#splitter = null;
    this.#lines.clear();
    this.#search.again();
    this.#parts.earlier.hidden = true;
    setText(this.#parts.note, "Reading…");
    for (const each of this.#parts.streams.children)
      setAttribute(each, "aria-pressed", String(each.dataset.stream === stream));
    this.#setFollow(true);
    this.#read(this.#run.signal);
  }

  // Read to the end of the job's output.
  async #read(signal) {
    let from = null;
    const sink = { begun: (offset) => this.#from(offset), take: (bytes) => this.#take(this.#splitter.feed(bytes)) };
    const read = async () => {
      from ??= await this.#beginning(signal);
      await this.#reader.follow(this.#stream, this.#splitter?.next ?? from, sink, signal);
    };
    if ((await this.#persist(read, signal)) && !signal.aborted) this.#finish();
  }

  // Do something over lost connections; return whether it is done, and was not refused.
  async #persist(action, signal) {
    for (let attempt = 0; !signal.aborted; attempt += 1) {
      const before = this.#splitter?.next;
      try {
        await action();
        return true;
      } catch (error) {
        if (signal.aborted) return false;
        if (error.name !== "AbortError") setText(this.#parts.note, problem(error));
        if (isRefused(error)) return false;
        if (this.#splitter?.next !== before) attempt = 0;
        await (document.hidden ? visible(signal) : new Promise((resolve) => setTimeout(resolve, backoff(attempt))));
      }
    }
    return false;
  }

  async #beginning(signal) {
    const { start, end } = await this.#reader.bounds(this.#stream, signal);
    this.#start = start;
    return Math.max(start, end - FIRST_BYTES);
  }

  // Begin to split at an offset, unless it is the next one: an agent may have dropped the oldest output meanwhile.
  #from(offset) {
    setText(this.#parts.note, this.#lines.count ? "" : `The job has written nothing to ${this.#stream} yet.`);
    if (this.#splitter?.next === offset) return;
    this.#splitter = new LineSplitter(offset);
    if (!this.#lines.count) this.#first = offset;
    this.#drawEarlier();
  }

  async #take(lines) {
    for (const line of lines) this.#queue.push(line);
    this.#flush();
    if (this.#queue.length > ofOneFrame(this.#queue)) {
      await new Promise((resolve) => {
        this.#drained = resolve;
      });
    }
  }

  #release() {
    this.#drained?.();
    this.#drained = null;
  }

  #finish() {
    this.#flush();
    const isEmpty = !this.#lines.count && !this.#queue.length && !this.#splitter?.unfinished;
    setText(this.#parts.note, isEmpty ? `The job has written nothing to ${this.#stream}.` : "End of the output.");
  }

  // --- drawing ---

  // While the reader looks at other lines than the last ones, none of those that are here is forgotten: when there are too
  // many, new ones wait at the agent.
  #drawQueue() {
    if (!this.#follow && this.#queue.length && this.#lines.isFull) {
      setText(this.#parts.note, "New lines wait. Follow to see them.");
      return;
    }
    if (this.#queue.length || this.#splitter?.unfinished) setText(this.#parts.note, "");
    const drawn = this.#lines.append(this.#queue.splice(0, ofOneFrame(this.#queue)));
    const isTrimmed = this.#follow && this.#lines.trim();
    if (isTrimmed) {
      this.#first = this.#lines.first;
      this.#drawEarlier();
    }
    this.#lines.setUnfinished(this.#splitter?.unfinished ?? null);
    if (this.#splitter) this.#drawSize(this.#stream, this.#splitter.next);
    this.#search.look(drawn, isTrimmed);
    if (this.#follow) this.#toEnd();
    if (this.#queue.length) this.#flush();
    else this.#release();
  }

  #drawEarlier() {
    const { earlier } = this.#parts;
    earlier.hidden = this.#first <= this.#start || !this.#lines.hasRoom;
    setText(earlier, `Load earlier lines (${format.bytes(this.#first - this.#start)} before these)`);
  }

  async #loadEarlier() {
    const { earlier, view } = this.#parts;
    if (earlier.getAttribute("aria-disabled")) return;
    setAttribute(earlier, "aria-disabled", "true");
    this.#setFollow(false);
    try {
      const from = Math.max(this.#start, this.#first - EARLIER_BYTES);
      const { begin, lines, rest } = await this.#reader.part(this.#stream, from, this.#first, this.#run.signal);
      // The agent may have dropped the oldest part meanwhile.
      this.#start = Math.max(this.#start, begin > from ? begin : 0);
      const height = view.scrollHeight;
      this.#lines.prepend(lines, rest);
      view.scrollTop += view.scrollHeight - height;
      this.#first = begin;
      this.#drawEarlier();
      this.#search.again();
      announce("Earlier lines are loaded.");
    } catch (error) {
      if (error.name !== "AbortError") failure("The earlier lines could not be read.", error);
    } finally {
      setAttribute(earlier, "aria-disabled", null);
    }
  }
}

// How many lines one frame draws; at least one.
function ofOneFrame(lines) {
  let [count, size] = [0, 0];
  while (count < Math.min(lines.length, FRAME_LINES) && size < FRAME_SIZE) size += lines[count++].text.length;
  return count;
}
