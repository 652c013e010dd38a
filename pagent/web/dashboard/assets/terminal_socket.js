// The WebSocket of a program on a terminal: docs/api.rst, "Exec".

export const State = Object.freeze({ CONNECTING: "connecting", OPEN: "open", ENDED: "ended" });

// A page cannot stop reading a WebSocket: the router sends at most this much more than the terminal has drawn.
const WINDOW = 256 * 1024;
const ACKNOWLEDGED_AT_ONCE = WINDOW / 4;
// Bytes of input: the socket's buffer, a message, and all input that waits while the program does not read.
const BUFFERED_MAX = 256 * 1024;
const PIECE = 32 * 1024;
const WAITING_MAX = 16 * 1024 * 1024;
const LOOK_MS = 20;
const NORMAL = 1000;

// The user's shell, or another one. An account that is not for people has nologin or false.
const SHELL = `case "$SHELL" in */nologin|*/false) SHELL= ;; esac
for each in "$SHELL" bash ash sh; do command -v "$each" >/dev/null 2>&1 && exec "$each"; done
exec sh`;

// ``onOutput(data, used)``: output, and the function to call when it was drawn; ``onState()``; ``onFull()``: input was lost.
export class TerminalSocket {
  #api;
  #uid;
  #program;
  #socket;
  #used = 0;
  #waiting = [];
  #waitingBytes = 0;
  #timer = 0;
  #encoder = new TextEncoder();

  constructor(api, uid, program, rows, cols) {
    this.#api = api;
    this.#uid = uid;
    this.#program = program;
    this.state = State.CONNECTING;
    this.code = null;
    this.reason = "";
    this.onOutput = () => {};
    this.onState = () => {};
    this.onFull = () => {};
    const arg = program ?? ["sh", "-c", SHELL];
    const query = { arg, tty: 1, rows, cols, term: "xterm-256color", window: WINDOW };
    const { url, protocols } = api.socket(`jobs/${encodeURIComponent(uid)}/exec`, query);
    this.#socket = new WebSocket(url, protocols);
    this.#socket.binaryType = "arraybuffer";
    this.#socket.onopen = () => this.#become(State.OPEN);
    this.#socket.onmessage = (event) => this.#received(event.data);
    this.#socket.onclose = (event) => this.#closed(event);
  }

  #become(state) {
    this.state = state;
    this.onState();
  }

  #received(data) {
    if (typeof data === "string") {
      this.code = JSON.parse(data).exit;
      return;
    }
    const output = new Uint8Array(data, 1);
    this.onOutput(output, () => this.#acknowledge(output.length));
  }

  #acknowledge(count) {
    this.#used += count;
    if (this.#used < ACKNOWLEDGED_AT_ONCE || this.#socket.readyState !== WebSocket.OPEN) return;
    this.#socket.send(JSON.stringify({ ack: this.#used }));
    this.#used = 0;
  }

  // --- input ---

  // Send input to the program: text, or bytes.
  input(data) {
    if (this.state !== State.OPEN) return;
    const bytes = typeof data === "string" ? this.#encoder.encode(data) : data;
    if (this.#waitingBytes + bytes.length > WAITING_MAX) {
      this.onFull();
      return;
    }
    for (let at = 0; at < bytes.length; at += PIECE) this.#waiting.push(bytes.subarray(at, at + PIECE));
    this.#waitingBytes += bytes.length;
    this.#send();
  }

  #send() {
    clearTimeout(this.#timer);
    while (this.#waiting.length && this.#socket.bufferedAmount < BUFFERED_MAX) {
      const piece = this.#waiting.shift();
      const framed = new Uint8Array(piece.length + 1);
      framed.set(piece, 1);
      this.#socket.send(framed);
      this.#waitingBytes -= piece.length;
    }
    // Browsers have no event for a socket that has sent its buffer.
    if (this.#waiting.length) this.#timer = setTimeout(() => this.#send(), LOOK_MS);
  }

  resize(rows, cols) {
    if (this.state === State.OPEN) this.#socket.send(JSON.stringify({ resize: [rows, cols] }));
  }

  // --- the end ---

  end() {
    this.reason = "Ended by you";
    this.#socket.close(NORMAL);
  }

  async #closed({ code, reason }) {
    clearTimeout(this.#timer);
    this.#waiting = [];
    const wasOpen = this.state === State.OPEN;
    if (this.code === null && !this.reason) {
      if (reason) this.reason = `Ended: ${reason}`;
      else if (wasOpen)
        this.reason = code === NORMAL ? "Ended" : "The connection was lost, and the program has ended with it";
      else this.reason = await this.#whyNot();
    }
    this.#become(State.ENDED);
  }

  // A browser hides the answer to a refused handshake, so the page asks for the state of the job.
  async #whyNot() {
    let job;
    try {
      job = await this.#api.get(`jobs/${encodeURIComponent(this.#uid)}`);
    } catch (error) {
      return `Not started. ${error.message}`;
    }
    if (job.state !== "RUNNING" && job.state !== "PENDING") return `Not started: the job is ${job.state}`;
    const refusal = this.#api.refusal("exec", { job });
    if (refusal) return `Not started. ${refusal}`;
    if (this.#program) return `Not started. Is there a program “${this.#program[0]}” for this job?`;
    return "Not started. If this job has no shell, name another program.";
  }
}

// Return the words of a command line. Quotation marks and backslashes join words as in a shell; nothing is expanded.
export function words(text) {
  const found = [];
  let word = null;
  let quote = "";
  for (let at = 0; at < text.length; at += 1) {
    const character = text[at];
    if (quote) {
      if (character === quote) quote = "";
      else if (character === "\\" && quote === '"' && /["\\]/.test(text[at + 1] ?? "")) word += text[(at += 1)];
      else word += character;
    } else if (character === "'" || character === '"') {
      quote = character;
      word ??= "";
    } else if (character === "\\" && at + 1 < text.length) {
      word = (word ?? "") + text[(at += 1)];
    } else if (/\s/.test(character)) {
      if (word !== null) found.push(word);
      word = null;
    } else word = (word ?? "") + character;
  }
  if (word !== null) found.push(word);
  return found;
}
