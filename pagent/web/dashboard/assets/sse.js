// The parser of server-sent events (HTML standard, section 9.2.6), for pieces of text that end anywhere.

export class EventParser {
  #rest = "";
  #skipNewline = false;
  #id = null;
  #name = "";
  #data = [];

  // Return the events that a piece of text completes, as {id, name, data}.
  feed(text) {
    const events = [];
    if (text === "") return events;
    const piece = this.#skipNewline && text[0] === "\n" ? text.slice(1) : text;
    const lines = (this.#rest + piece).split(/\r\n|\n|\r/);
    // A CR at the end is an end of line; an LF that comes after it in the next piece belongs to it.
    this.#skipNewline = text.endsWith("\r");
    this.#rest = lines.pop();
    for (const line of lines) {
      const event = line === "" ? this.#complete() : this.#field(line);
      if (event) events.push(event);
    }
    return events;
  }

  #field(line) {
    const colon = line.indexOf(":");
    if (colon === 0) return null;
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "event") this.#name = value;
    else if (name === "data") this.#data.push(value);
    else if (name === "id" && !value.includes("\0")) this.#id = value;
    return null;
  }

  #complete() {
    const event = this.#data.length
      ? { id: this.#id, name: this.#name || "message", data: this.#data.join("\n") }
      : null;
    this.#name = "";
    this.#data = [];
    return event;
  }
}
