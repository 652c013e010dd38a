// Colours of terminals (ECMA-48, SGR) in a text. All other control sequences are left out: they can do nothing here.

// CSI … final byte, OSC … BEL or ST, other strings up to ST, and escapes of two characters.
const SEQUENCE =
  /\u001b\[([0-?]*)[ -/]*([@-~])|\u001b\][^\u0007\u001b]*(?:\u0007|\u001b\\|$)|\u001b[PX^_][^\u001b]*(?:\u001b\\|$)|\u001b\[[0-?]*[ -/]*$|\u001b[ -/]*[0-~]|\u001b$/g;

const PLAIN = Object.freeze({
  fg: null,
  bg: null,
  bold: false,
  dim: false,
  italic: false,
  underline: false,
  inverse: false,
});

// Return the text without control sequences.
export function stripped(text) {
  return text.includes("\u001b") ? text.replace(SEQUENCE, "") : text;
}

// Return [{text, style}] and the style after it. A style is an object as PLAIN; null is plain.
export function parse(text, style = null) {
  if (!text.includes("\u001b")) return { spans: text ? [{ text, style }] : [], style };
  const spans = [];
  let current = style;
  let at = 0;
  for (const match of text.matchAll(SEQUENCE)) {
    if (match.index > at) spans.push({ text: text.slice(at, match.index), style: current });
    if (match[2] === "m") current = styled(current, match[1]);
    at = match.index + match[0].length;
  }
  if (at < text.length) spans.push({ text: text.slice(at), style: current });
  return { spans, style: current };
}

function styled(style, parameters) {
  const codes = parameters.split(/[;:]/).map((code) => (code === "" ? 0 : Number(code)));
  let next = { ...(style ?? PLAIN) };
  for (let index = 0; index < codes.length; index += 1) {
    const code = codes[index];
    if (code === 38 || code === 48) {
      const [color, used] = extended(codes, index + 1);
      next[code === 38 ? "fg" : "bg"] = color;
      index += used;
    } else next = plainCode(next, code);
  }
  return Object.keys(PLAIN).every((name) => next[name] === PLAIN[name]) ? null : next;
}

const FLAGS = { 1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "inverse" };
const ENDS = { 22: ["bold", "dim"], 23: ["italic"], 24: ["underline"], 27: ["inverse"], 39: ["fg"], 49: ["bg"] };

function plainCode(style, code) {
  if (code === 0) return { ...PLAIN };
  if (code in FLAGS) return { ...style, [FLAGS[code]]: true };
  if (code in ENDS) return ENDS[code].reduce((all, name) => ({ ...all, [name]: PLAIN[name] }), style);
  if (code >= 30 && code <= 37) return { ...style, fg: code - 30 };
  if (code >= 40 && code <= 47) return { ...style, bg: code - 40 };
  if (code >= 90 && code <= 97) return { ...style, fg: code - 82 };
  if (code >= 100 && code <= 107) return { ...style, bg: code - 92 };
  return style;
}

// Colours of 256 and of 24 bits become the nearest of 16, whose contrast is known in both themes.
function extended(codes, index) {
  if (codes[index] === 5) return [of256(codes[index + 1] ?? 0), 2];
  if (codes[index] === 2) return [ofRgb(codes[index + 1] ?? 0, codes[index + 2] ?? 0, codes[index + 3] ?? 0), 4];
  return [null, codes.length];
}

function of256(color) {
  if (!(color >= 0 && color <= 255)) return null;
  if (color < 16) return color;
  if (color >= 232) return ofRgb(...Array(3).fill(8 + 10 * (color - 232)));
  const level = (each) => (each ? 55 + 40 * each : 0);
  const cube = color - 16;
  return ofRgb(level(Math.floor(cube / 36)), level(Math.floor(cube / 6) % 6), level(cube % 6));
}

function ofRgb(red, green, blue) {
  const largest = Math.max(red, green, blue);
  if (largest < 64) return 0;
  const part = largest * 0.6;
  const hue = (red >= part ? 1 : 0) + (green >= part ? 2 : 0) + (blue >= part ? 4 : 0);
  if (hue === 7) return largest > 200 ? 15 : largest > 140 ? 7 : 8;
  return largest > 200 ? hue + 8 : hue;
}

// The classes of a span with a style.
export function classes(style) {
  if (!style) return "";
  const found = [];
  if (style.fg !== null) found.push(`fg-${style.fg}`);
  if (style.bg !== null) found.push(`bg-${style.bg}`);
  for (const name of Object.values(FLAGS)) if (style[name]) found.push(`sgr-${name}`);
  return found.join(" ");
}
