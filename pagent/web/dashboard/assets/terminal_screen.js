// The screen of a terminal: xterm.js, its size, its colours, its keys, and the clipboard.

import { framed, h } from "./dom.js";
import { store, stored } from "./stored.js";

const STORED = "screen-reader";
const SCROLLBACK = 5000;
const FONT = 'ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace';
const CONTRAST = 4.5;
// All but tab, line feed and carriage return.
const CONTROLS = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]/g;

// The colours of the two shades. xterm.js raises the contrast of a program's colours to CONTRAST.
const THEMES = {
  dark: {
    background: "#0d1117",
    foreground: "#e6edf3",
    cursor: "#e6edf3",
    cursorAccent: "#0d1117",
    selectionBackground: "#2f5486",
    black: "#6e7681",
    red: "#ff7b72",
    green: "#3fb950",
    yellow: "#d29922",
    blue: "#58a6ff",
    magenta: "#bc8cff",
    cyan: "#39c5cf",
    white: "#b1bac4",
  },
  light: {
    background: "#ffffff",
    foreground: "#1f2328",
    cursor: "#1f2328",
    cursorAccent: "#ffffff",
    selectionBackground: "#b6d6fb",
    black: "#24292f",
    red: "#cf222e",
    green: "#116329",
    yellow: "#7d4e00",
    blue: "#0969da",
    magenta: "#8250df",
    cyan: "#1b7c83",
    white: "#59636e",
  },
};

function shade() {
  return document.documentElement.dataset.shade === "light" ? THEMES.light : THEMES.dark;
}

// ``onInput(data)``: text, or bytes, for the program; ``onSize(rows, cols)``; ``onLeave()``: the keyboard leaves it.
export class Screen {
  #terminal;
  #fit;
  #isOpen = false;

  constructor(Terminal, FitAddon) {
    this.element = h("div.terminal-screen", { "data-keys": "own" });
    this.onInput = () => {};
    this.onSize = () => {};
    this.onLeave = () => {};
    this.#terminal = new Terminal({
      allowProposedApi: false,
      cursorBlink: false,
      fontFamily: FONT,
      fontSize: innerWidth < 600 ? 12 : 14,
      linkHandler: { activate: () => {} }, // a program's link is not followed
      minimumContrastRatio: CONTRAST,
      screenReaderMode: stored(STORED) === "on",
      scrollback: SCROLLBACK,
      theme: shade(),
    });
    this.#fit = new FitAddon();
    this.#terminal.loadAddon(this.#fit);
    this.#terminal.onData((data) => this.onInput(data));
    this.#terminal.onBinary((data) => this.onInput(Uint8Array.from(data, (each) => each.charCodeAt(0))));
    this.#terminal.onResize(({ rows, cols }) => this.onSize(rows, cols));
    this.element.addEventListener("paste", (event) => this.#pasted(event), { capture: true }); // before xterm.js
    this.#terminal.attachCustomKeyEventHandler((event) => this.#isForProgram(event));
    new ResizeObserver(framed(() => this.#refit())).observe(this.element);
    window.addEventListener("themechange", () => (this.#terminal.options.theme = shade()));
  }

  // Draw into the element, which is in the page now. ``help``: the id of the element that names the keys.
  open(help) {
    if (!this.#isOpen) {
      this.#isOpen = true;
      this.#terminal.open(this.element);
      this.#terminal.textarea.setAttribute("aria-describedby", help);
      this.#terminal.textarea.setAttribute("aria-label", "Terminal");
    }
    this.#refit();
  }

  #refit() {
    if (this.element.clientWidth && this.element.clientHeight) this.#fit.fit();
  }

  get rows() {
    return this.#terminal.rows;
  }

  get cols() {
    return this.#terminal.cols;
  }

  // Whether a screen reader is used: the lines are then elements of the page.
  get isRead() {
    return this.#terminal.options.screenReaderMode;
  }

  set isRead(value) {
    store(STORED, value ? "on" : null);
    this.#terminal.options.screenReaderMode = value;
  }

  // Draw output; ``used`` is called when it was.
  write(data, used) {
    this.#terminal.write(data, used);
  }

  // Write a line of the page's own after the output. What the program has set, and may not have taken back, is left: modes,
  // colours, the alternate screen.
  line(text) {
    this.#terminal.write("\x1b[?1049l\x1b[!p\x1b[?1000;1002;1003;1006;2004l\x1b[?25h\x1b[0m");
    this.#terminal.write(`\r\n\x1b[3m${text}\x1b[0m\r\n`);
  }

  focus() {
    this.#terminal.focus();
  }

  // --- keys ---

  #isForProgram(event) {
    if (event.type !== "keydown") return true;
    if (event.ctrlKey && (event.key === "F6" || (event.shiftKey && event.key === "Escape"))) {
      event.preventDefault();
      this.onLeave();
      return false;
    }
    const isCopy = event.ctrlKey && ((event.shiftKey && event.code === "KeyC") || event.key === "Insert");
    if (isCopy) {
      event.preventDefault();
      this.copy();
      return false;
    }
    // The browser pastes.
    return !(event.ctrlKey && event.shiftKey && event.code === "KeyV") && !(event.shiftKey && event.key === "Insert");
  }

  // Press a key: text, or the letter of an arrow.
  press(text) {
    const arrow = this.#terminal.modes.applicationCursorKeysMode ? "\x1bO" : "\x1b[";
    this.onInput(/^[A-D]$/.test(text) ? arrow + text : text);
    this.focus();
  }

  // --- the clipboard ---

  async copy() {
    const text = this.#terminal.getSelection();
    this.focus();
    if (!text) return;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      document.execCommand("copy"); // not a secure context: xterm.js answers the event with its selection
    }
  }

  #pasted(event) {
    event.preventDefault();
    event.stopPropagation();
    this.paste(event.clipboardData.getData("text/plain"));
  }

  // Paste text without the control characters that a program could take for keys: the end of a bracketed paste is one, so
  // that the text after it would be run.
  paste(text) {
    this.#terminal.paste(text.replace(CONTROLS, ""));
  }
}
