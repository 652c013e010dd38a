// The tab Terminal of a job: a shell, or another program, in the folder of the job.
//
// A session outlives its tab: a person who goes to the log and comes back finds the program as it was. It ends with its
// program, with the page, and with the token.

import { tokenButton } from "./chips.js";
import { h, set, setText } from "./dom.js";
import { failure, message } from "./dialog.js";
import { harmless } from "./format.js";
import { withStyle } from "./styles.js";
import { State, TerminalSocket, words } from "./terminal_socket.js";
import { Screen } from "./terminal_screen.js";

// Sessions of jobs whose tab is not displayed, the least recently displayed first.
const SESSIONS_MAX = 8;
const sessions = new Map();

// Mount the tab into an element; return the function that ends it.
// ``job``: as GET /v1/jobs/<uid> answers; ``api``: the client of /v1 (api.js).
export function mountTerminal(element, job, api) {
  const refused = api.refusal("exec", { job });
  const reason = refused ?? notRunning(job);
  const known = sessions.get(job.uid);
  if (reason && !known) {
    element.append(h("p.empty", {}, reason, refused ? [" ", tokenButton(api)] : null));
    return () => element.replaceChildren();
  }
  let session = known;
  let isMounted = true;
  const place = h("div.terminal", {}, h("p.hint", {}, "Loading the terminal…"));
  element.append(place);
  opened(job, api).then(
    (found) => {
      session = found;
      if (isMounted) session.mount(place);
    },
    (error) => {
      place.replaceChildren(
        h("p.problem", { role: "alert" }, "The terminal could not be loaded. Load the page again."),
      );
      failure("The terminal could not be loaded", error);
    },
  );
  return () => {
    isMounted = false;
    session?.unmount();
    element.replaceChildren();
  };
}

function notRunning(job) {
  if (job.state !== "RUNNING" && job.state !== "PENDING") return "A terminal needs a job that runs. This one does not.";
  return null;
}

async function opened(job, api) {
  const known = sessions.get(job.uid);
  if (known) {
    sessions.delete(job.uid); // it is the most recently displayed one now
    sessions.set(job.uid, known);
    return known;
  }
  const [{ Terminal }, { FitAddon }] = await Promise.all([
    import("./vendor/xterm.mjs"),
    import("./vendor/xterm.addon-fit.mjs"),
    withStyle("vendor/xterm.css"),
    withStyle("terminal.css"),
  ]);
  const concurrent = sessions.get(job.uid);
  if (concurrent) return concurrent;
  const session = new Session(job, api, new Screen(Terminal, FitAddon));
  sessions.set(job.uid, session);
  const [[oldest, other]] = sessions;
  if (sessions.size > SESSIONS_MAX) {
    other.dispose();
    sessions.delete(oldest);
    message(`The terminal of ${oldest.slice(0, 8)} was ended: ${SESSIONS_MAX} are open.`);
  }
  return session;
}

// One terminal: its elements, its screen, and the socket of the program that runs now.
class Session {
  #job;
  #api;
  #screen;
  #socket = null;
  #token;
  #parts;
  #gone = new AbortController();

  constructor(job, api, screen) {
    this.#job = job;
    this.#api = api;
    this.#screen = screen;
    this.#token = api.token;
    this.#parts = this.#build();
    screen.onInput = (data) => this.#socket?.input(data);
    screen.onSize = (rows, cols) => this.#socket?.resize(rows, cols);
    screen.onLeave = () => this.#parts.start.focus();
    const checkToken = () => {
      if (api.token !== this.#token) this.end();
    };
    api.addEventListener("token", checkToken, { signal: this.#gone.signal });
    // A browser learns that a connection is dead only when it sends something.
    const probe = () => this.#socket?.resize(screen.rows, screen.cols);
    api.addEventListener("lost", probe, { signal: this.#gone.signal });
  }

  #build() {
    const program = h("input", {
      type: "text",
      name: "program",
      placeholder: "Shell",
      autocomplete: "off",
      autocapitalize: "off",
      spellcheck: "false",
      "aria-label": "Program; empty for a shell",
    });
    const start = h("button.primary", { type: "submit", "data-action": "start" }, "Start");
    const status = h("span.terminal-status", { role: "status" });
    const button = (action, text, onclick) => h("button", { type: "button", "data-action": action, onclick }, text);
    const reads = h("input", {
      type: "checkbox",
      name: "screen-reader",
      checked: this.#screen.isRead,
      onchange: (event) => (this.#screen.isRead = event.target.checked),
    });
    const bar = h(
      "form.terminal-bar",
      { onsubmit: (event) => this.#submit(event) },
      program,
      start,
      button("copy", "Copy", () => this.#screen.copy()),
      navigator.clipboard?.readText ? button("paste", "Paste", () => this.#paste()) : null,
      h("label.check", {}, reads, h("span", {}, "Screen reader")),
      status,
    );
    const help = h(
      "p.hint",
      { id: "terminal-help" },
      ...keys("Ctrl+Shift+Esc"),
      " or ",
      ...keys("Ctrl+F6"),
      " leaves the terminal, ",
      ...keys("Ctrl+Shift+C"),
      " copies, ",
      ...keys("Ctrl+Shift+V"),
      " pastes. The program goes on when this tab is left, and ends with the page.",
    );
    const root = h("div.terminal-session", {}, bar, this.#screen.element, touchKeys(this.#screen), help);
    return { root, program, start, status };
  }

  mount(place) {
    place.replaceChildren(this.#parts.root);
    this.#screen.open("terminal-help");
    if (this.#socket === null) this.#start();
    // The focus of a person who uses the keyboard stays where it is.
    if (!document.activeElement?.matches(":focus-visible")) this.#screen.focus();
  }

  unmount() {
    this.#parts.root.remove();
  }

  end() {
    this.#socket?.end();
  }

  dispose() {
    this.end();
    this.#gone.abort();
  }

  #submit(event) {
    event.preventDefault();
    if (this.#socket?.state === State.OPEN || this.#socket?.state === State.CONNECTING) this.#socket.end();
    else {
      this.#start();
      this.#screen.focus();
    }
  }

  #start() {
    const text = this.#parts.program.value.trim();
    this.#token = this.#api.token;
    const { rows, cols } = this.#screen;
    const socket = new TerminalSocket(this.#api, this.#job.uid, text ? words(text) : null, rows, cols);
    this.#socket = socket;
    socket.onOutput = (data, used) => this.#screen.write(data, used);
    socket.onState = () => this.#changed(socket);
    socket.onFull = () =>
      message("The program does not read its input. What was pasted last is lost.", { kind: "error" });
    this.#changed(socket);
  }

  #changed(socket) {
    if (socket !== this.#socket) return;
    const { start, status, program, root } = this.#parts;
    const isAlive = socket.state !== State.ENDED;
    root.dataset.state = socket.state;
    setText(start, isAlive ? "End" : "Start again");
    start.className = isAlive ? "" : "primary";
    set(program, "disabled", isAlive);
    setText(status, TEXTS[socket.state](socket));
    if (!isAlive) {
      this.#screen.line(TEXTS[socket.state](socket));
      if (root.contains(document.activeElement)) start.focus();
    }
  }

  async #paste() {
    try {
      this.#screen.paste(await navigator.clipboard.readText());
    } catch {
      message("The browser does not let this page read the clipboard. Press Ctrl+Shift+V in the terminal.");
    }
    this.#screen.focus();
  }
}

const TEXTS = {
  [State.CONNECTING]: () => "Starting",
  [State.OPEN]: () => "Running",
  [State.ENDED]: (socket) => endText(socket),
};

function endText({ code, reason }) {
  if (code === null) return harmless(reason);
  if (code < 0) return `Ended by signal ${-code}`;
  return `Ended with exit code ${code}`;
}

function keys(combination) {
  return combination.split("+").flatMap((key, index) => [index ? "+" : null, h("kbd", {}, key)]);
}

// Keys that the keyboard of a phone does not have; the style displays them there.
function touchKeys(screen) {
  const key = (label, text, name = null) =>
    h("button", { type: "button", "aria-label": name, onclick: () => screen.press(text) }, label);
  return h(
    "div.terminal-keys",
    { role: "group", "aria-label": "Keys" },
    key("Esc", "\x1b"),
    key("Tab", "\t"),
    key("^C", "\x03"),
    key("^D", "\x04"),
    key("^Z", "\x1a"),
    key("↑", "A", "Up"),
    key("↓", "B", "Down"),
    key("←", "D", "Left"),
    key("→", "C", "Right"),
  );
}
