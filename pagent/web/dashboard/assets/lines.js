// The lines of an output that is received in pieces of bytes, each with the offset of its first byte.

const LF = 10;
const LINE_MAX = 16_384;

export class LineSplitter {
  #rest = new Uint8Array(0);
  #decoder = new TextDecoder();

  // ``offset``: of the first byte that will be fed.
  constructor(offset = 0) {
    this.offset = offset;
  }

  // The offset of the next byte to feed.
  get next() {
    return this.offset + this.#rest.length;
  }

  // Return the lines that a piece completes: {offset, text}. A line that is too long becomes several.
  feed(bytes) {
    const data = this.#rest.length ? joined(this.#rest, bytes) : bytes;
    const lines = [];
    let start = 0;
    for (;;) {
      const end = data.indexOf(LF, start);
      const stop = end < 0 ? data.length : end;
      while (stop - start > LINE_MAX) {
        const cut = boundary(data, start + LINE_MAX, start);
        lines.push(this.#line(data, start, cut));
        start = cut;
      }
      if (end < 0) break;
      lines.push(this.#line(data, start, end));
      start = end + 1;
    }
    this.#rest = data.slice(start);
    this.offset += start;
    return lines;
  }

  #line(data, start, end) {
    return { offset: this.offset + start, text: this.#decoder.decode(data.subarray(start, end)) };
  }

  // The line that has no end yet; null if there is none.
  get unfinished() {
    return this.#rest.length ? { offset: this.offset, text: this.#decoder.decode(this.#rest) } : null;
  }
}

function joined(first, second) {
  const both = new Uint8Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}

// The last position up to ``at`` that is not within a character of UTF-8.
function boundary(data, at, start) {
  let position = at;
  while (position > start + 1 && position > at - 4 && (data[position] & 0xc0) === 0x80) position -= 1;
  return position;
}

// What a terminal would show of a line: a carriage return begins it again, as progress bars do.
export function overwritten(text) {
  const line = text.endsWith("\r") ? text.replace(/\r+$/, "") : text;
  const at = line.lastIndexOf("\r");
  return at < 0 ? line : line.slice(at + 1);
}
