import assert from "node:assert/strict";
import { test } from "node:test";
import * as format from "./assets/format.js";

test("sizes have a unit and three digits", () => {
  const cases = [
    [0, "0 B"],
    [999, "999 B"],
    [1000, "1 kB"],
    [1234, "1.23 kB"],
    [12_345, "12.3 kB"],
    [999_600, "1.00 MB"],
    [5.5e12, "5.50 TB"],
  ];
  for (const [value, text] of cases) assert.equal(format.bytes(value), text);
});

test("what is not known is a dash", () => {
  for (const name of ["bytes", "rate", "count", "perSecond", "cores", "latency", "duration", "localTime"]) {
    for (const value of [null, undefined, NaN]) assert.equal(format[name](value), format.NONE, name);
  }
});

test("durations have their two largest units", () => {
  const cases = [
    [0, "0s"],
    [-5, "0s"],
    [59.9, "59s"],
    [60, "1m"],
    [61, "1m 1s"],
    [3600, "1h"],
    [7261, "2h 1m"],
    [90_000, "1d 1h"],
    [864_000, "10d"],
  ];
  for (const [value, text] of cases) assert.equal(format.duration(value), text);
});

test("a short run has a fraction", () => {
  assert.deepEqual([0, 0.42, 9.96, 75, null].map(format.spent), ["0.0s", "0.4s", "9s", "1m 15s", format.NONE]);
});

test("latencies have a unit that fits", () => {
  const cases = [
    [0, "0 ms"],
    [0.00083, "830 µs"],
    [0.0123, "12.3 ms"],
    [0.25, "250 ms"],
    [1.25, "1.25 s"],
  ];
  for (const [value, text] of cases) assert.equal(format.latency(value), text);
});

test("cores are percents of one core", () => {
  assert.deepEqual([0, 0.004, 0.25, 1.5].map(format.cores), ["0%", "0.4%", "25%", "150%"]);
});

test("counts have groups of three digits", () => {
  assert.deepEqual([0, 999, 1000, 1234567].map(format.count), ["0", "999", "1,000", "1,234,567"]);
  assert.equal(format.plural(1, "agent"), "1 agent");
  assert.equal(format.plural(2, "agent"), "2 agents");
});

test("characters that deceive are displayed as code points", () => {
  const cases = [
    ["invoice\u202egpj.exe", "invoice⟨U+202E⟩gpj.exe"],
    ["a\u0000b\u001bc\nd\te\u007f", "a⟨U+0000⟩b⟨U+001B⟩c⟨U+000A⟩d⟨U+0009⟩e⟨U+007F⟩"],
    ["\u2066x\u2069\u200b\ufeff\u061c", "⟨U+2066⟩x⟨U+2069⟩⟨U+200B⟩⟨U+FEFF⟩⟨U+061C⟩"],
    ["\u{e0041}\ue000", "⟨U+E0041⟩⟨U+E000⟩"],
    ["\ud800x", "⟨U+D800⟩x"],
    ["مرحبا 🦄 e\u0301 日本", "مرحبا 🦄 e\u0301 日本"],
    ["<b>&amp;</b>", "<b>&amp;</b>"],
  ];
  for (const [name, text] of cases) assert.equal(format.harmless(name), text);
});

test("marks do not pile up over other lines", () => {
  assert.equal(format.harmless(`e${"\u0301".repeat(50)}x`), `e${"\u0301".repeat(4)}…x`);
});

test("long names are cut, and at no half of a character", () => {
  assert.equal(Array.from(format.shortened("🦄".repeat(10_000), 10)).length, 10);
  assert.equal(format.shortened("🦄".repeat(10_000), 10), `${"🦄".repeat(9)}…`);
  assert.equal(format.shortened("short"), "short");
});

test("the name of a job without one is the beginning of its uid", () => {
  assert.equal(format.jobName({ name: null, uid: "0123456789abcdef" }), "01234567");
  assert.equal(format.jobName({ name: "site", uid: "0123456789abcdef" }), "site");
});

test("a job has failed by its signal, its exit code or its error", () => {
  assert.deepEqual(
    [
      {},
      { exit_code: 0 },
      { exit_code: 3 },
      { signal: "SIGKILL" },
      { error: "no" },
      { exit_code: null, signal: null, error: null },
    ].map(format.hasFailed),
    [false, false, true, true, true, false],
  );
  assert.equal(format.outcome({ exit_code: -9, signal: "SIGKILL" }), "signal SIGKILL");
  assert.equal(format.outcome({ exit_code: 0, signal: null }), "exit 0");
  assert.equal(format.outcome({ exit_code: null, signal: null }), null);
});

test("the reason for an end is in words", () => {
  assert.match(format.reason({ signal: "SIGSEGV", error: null }), /crashed/);
  assert.match(format.reason({ signal: "SIGKILL" }), /memory/);
  assert.match(format.reason({ signal: "SIGTERM", error: "idle" }), /not used for its idle time/);
  assert.equal(format.reason({ signal: "SIGTERM", error: "no port\u202e" }), "no port⟨U+202E⟩");
  assert.equal(format.reason({ signal: "toString", error: null }), null);
  assert.equal(format.reason({ exit_code: 3, signal: null, error: null }), null);
});

test("a name of blanks is none", () => {
  assert.equal(format.jobName({ name: " \u3000", uid: "0123456789abcdef" }), "01234567");
});
