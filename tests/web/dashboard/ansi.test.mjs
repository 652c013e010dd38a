import assert from "node:assert/strict";
import { test } from "node:test";
import { classes, parse, stripped } from "./assets/ansi.js";

const looks = (text) => parse(text).spans.map(({ text: part, style }) => [part, classes(style)]);

test("plain text is one span", () => {
  assert.deepEqual(looks("plain"), [["plain", ""]]);
  assert.deepEqual(looks(""), []);
});

test("colours and flags are classes", () => {
  assert.deepEqual(looks("\x1b[31mred\x1b[0m \x1b[1;4;94;43mall\x1b[22;24mless\x1b[39;49mnone"), [
    ["red", "fg-1"],
    [" ", ""],
    ["all", "fg-12 bg-3 sgr-bold sgr-underline"],
    ["less", "fg-12 bg-3"],
    ["none", ""],
  ]);
  assert.deepEqual(looks("\x1b[2;3;7mx\x1b[my"), [
    ["x", "sgr-dim sgr-italic sgr-inverse"],
    ["y", ""],
  ]);
});

test("colours of 256 and of 24 bits are the nearest of 16", () => {
  const cases = [
    ["38;5;9", "fg-9"],
    ["38;5;196", "fg-9"],
    ["38;5;22", "fg-2"],
    ["38;5;255", "fg-15"],
    ["38;2;0;0;255", "fg-12"],
    ["38:2:255:255:0", "fg-11"],
    ["48;2;0;0;0", "bg-0"],
    ["38;5;999", ""],
    ["38;9;1", ""],
    ["38", ""],
  ];
  for (const [code, name] of cases) assert.deepEqual(looks(`\x1b[${code}mx`), [["x", name]], code);
});

test("a style goes on in the next line", () => {
  const first = parse("a\x1b[32mb");
  assert.deepEqual(parse("c", first.style).spans, [{ text: "c", style: first.style }]);
  assert.equal(classes(first.style), "fg-2");
});

test("all other sequences are left out", () => {
  const cases = [
    ["\x1b]0;title\x07a", "a"],
    ["\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"],
    ["\x1b[2J\x1b[1;1Ha", "a"],
    ["\x1b[?25la", "a"],
    ["\x1bPq#0\x1b\\a", "a"],
    ["\x1b(Ba", "a"],
    ["\x1bca", "a"],
    ["a\x1b", "a"],
    ["a\x1b[", "a"],
    ["a\x1b[1;", "a"],
    ["\x1b]0;no end", ""],
  ];
  for (const [text, rest] of cases) {
    assert.equal(stripped(text), rest, JSON.stringify(text));
    assert.equal(
      parse(text)
        .spans.map((span) => span.text)
        .join(""),
      rest,
      JSON.stringify(text),
    );
  }
});

test("a hostile line takes no long time", () => {
  const started = performance.now();
  for (const piece of ["\x1b[", "\x1b]", "\x1b[1;", "\x1b", "\x1bP", "\x1b[ "]) parse(piece.repeat(20_000));
  assert.ok(performance.now() - started < 5000);
});
