// Texts for people: sizes, rates, durations, times, and names that cannot deceive the reader.

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];
const MINUTE = 60;
const HOUR = 3600;
const DAY = 86400;

export const NONE = "–";

function isNumber(value) {
  return typeof value === "number" && Number.isFinite(value);
}

// Three significant digits, without a trailing zero after the point.
function digits(value) {
  if (value >= 100 || Number.isInteger(value)) return String(Math.round(value));
  return value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

export function bytes(value) {
  if (!isNumber(value)) return NONE;
  let size = Math.abs(value);
  let unit = 0;
  while (size >= 999.5 && unit < UNITS.length - 1) {
    size /= 1000;
    unit += 1;
  }
  const text = unit === 0 ? String(Math.round(size)) : digits(size);
  return `${value < 0 ? "-" : ""}${text} ${UNITS[unit]}`;
}

export function rate(value) {
  return isNumber(value) ? `${bytes(value)}/s` : NONE;
}

export function count(value) {
  if (!isNumber(value)) return NONE;
  return Math.round(value)
    .toString()
    .replace(/\B(?=(\d{3})+$)/g, ",");
}

export function perSecond(value) {
  if (!isNumber(value)) return NONE;
  return value >= 1000 ? count(value) : digits(value);
}

// The share of one core: 1.5 cores are 150%.
export function cores(value) {
  if (!isNumber(value)) return NONE;
  const percent = value * 100;
  return `${percent >= 10 || percent === 0 ? Math.round(percent) : percent.toFixed(1)}%`;
}

// A time that something took, in seconds: 830 µs, 12.3 ms, 1.25 s.
export function latency(seconds) {
  if (!isNumber(seconds)) return NONE;
  if (seconds === 0) return "0 ms";
  if (seconds < 0.001) return `${Math.round(seconds * 1e6)} µs`;
  if (seconds < 1) return `${digits(seconds * 1000)} ms`;
  return `${digits(seconds)} s`;
}

// An age with its two largest units: 45s, 3m 20s, 5h 12m, 12d 4h.
export function duration(seconds) {
  if (!isNumber(seconds)) return NONE;
  const all = Math.max(0, Math.floor(seconds));
  if (all < MINUTE) return `${all}s`;
  if (all < HOUR) return pair(all, MINUTE, "m", 1, "s");
  if (all < DAY) return pair(all, HOUR, "h", MINUTE, "m");
  return pair(all, DAY, "d", HOUR, "h");
}

// How long something ran: short times have a fraction.
export function spent(seconds) {
  return isNumber(seconds) && seconds >= 0 && seconds < 9.95 ? `${seconds.toFixed(1)}s` : duration(seconds);
}

function pair(all, large, largeUnit, small, smallUnit) {
  const rest = Math.floor((all % large) / small);
  return `${Math.floor(all / large)}${largeUnit}${rest ? ` ${rest}${smallUnit}` : ""}`;
}

export function epoch(text) {
  const time = typeof text === "string" ? Date.parse(text) / 1000 : NaN;
  return Number.isNaN(time) ? null : time;
}

export function localTime(text) {
  const time = epoch(text);
  if (time === null) return NONE;
  return new Date(time * 1000).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
}

export function clockTime(seconds) {
  return new Date(seconds * 1000).toLocaleTimeString(undefined, { hour12: false });
}

export function plural(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

export function shortUid(uid) {
  return typeof uid === "string" ? uid.slice(0, 8) : NONE;
}

// Names come from users. A control character, a direction override or a zero-width character in one would change what
// the reader sees of the text around it, so such a character is displayed as its code point.
const DECEPTIVE =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ue000-\uf8ff]|[\u{1bca0}-\u{1bca3}\u{1d173}-\u{1d17a}\u{e0000}-\u{e0fff}]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/gu;

function codePoint(character) {
  return `⟨U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`;
}

// Marks that combine with a character are kept up to this many in a row: more would be drawn over other lines.
const MARKS = /(\p{M}{4})\p{M}+/gu;

export function harmless(text) {
  return String(text).replace(DECEPTIVE, codePoint).replace(MARKS, "$1…");
}

// A name of any length for a place of bounded width, whole in its title.
export function shortened(text, most = 200) {
  const characters = Array.from(String(text).slice(0, 4 * most));
  return harmless(characters.length > most ? `${characters.slice(0, most - 1).join("")}…` : characters.join(""));
}

export function jobName(job) {
  return String(job.name ?? "").trim() ? shortened(job.name) : shortUid(job.uid);
}

// Why a job has ended, in a few words; null for a job that has not.
export function outcome(job) {
  if (job.signal !== null && job.signal !== undefined) return `signal ${harmless(job.signal)}`;
  if (isNumber(job.exit_code)) return `exit ${job.exit_code}`;
  return null;
}

const CRASH = "The program crashed: a fault of the program, or of a library that it uses.";
const MEANINGS = {
  SIGABRT: "The program ended itself after a fault that it had found, or a client has sent this signal.",
  SIGBUS: CRASH,
  SIGFPE: CRASH,
  SIGILL: CRASH,
  SIGKILL: "A client or a user of its host has killed it, or the kernel, because memory or a limit of it was used up.",
  SIGSEGV: CRASH,
  SIGSYS: CRASH,
  SIGTERM: "A client or a user of its host has ended it.",
  SIGXCPU: "Its limit of CPU time was used up.",
};

// Why a job has ended, in words; null if the outcome says all that is known.
export function reason(job) {
  if (job.error === "idle") return "The agent has ended it: it was not used for its idle time (idle_after).";
  if (job.error) return shortened(job.error, 4096);
  return Object.hasOwn(MEANINGS, job.signal ?? "") ? MEANINGS[job.signal] : null;
}

export function hasFailed(job) {
  return Boolean(job.error) || Boolean(job.signal) || (isNumber(job.exit_code) && job.exit_code !== 0);
}
