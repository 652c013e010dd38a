import assert from "node:assert/strict";
import { test } from "node:test";
import { LineSplitter, overwritten } from "./assets/lines.js";

const OUTPUT = new TextEncoder().encode("first\n\nthird é🦄\r\nno end 🦄");
const LINES = [
  { offset: 100, text: "first" },
  { offset: 106, text: "" },
  { offset: 107, text: "third é🦄\r" },
];

test("every split gives the same lines", () => {
  for (let at = 0; at <= OUTPUT.length; at += 1) {
    const splitter = new LineSplitter(100);
    const lines = [...splitter.feed(OUTPUT.subarray(0, at)), ...splitter.feed(OUTPUT.subarray(at))];
    assert.deepEqual(lines, LINES, `split at ${at}`);
    assert.deepEqual(splitter.unfinished, { offset: 121, text: "no end 🦄" });
    assert.equal(splitter.next, 100 + OUTPUT.length);
  }
});

test("a line without end becomes several, of whole characters", () => {
  const text = `x${"🦄".repeat(20_000)}`;
  const splitter = new LineSplitter();
  const lines = splitter.feed(new TextEncoder().encode(`${text}\n`));
  assert.ok(lines.length > 4);
  assert.equal(lines.map((line) => line.text).join(""), text);
  assert.equal(splitter.unfinished, null);
  lines
    .slice(1)
    .forEach((line, index) =>
      assert.equal(line.offset, lines[index].offset + new TextEncoder().encode(lines[index].text).length),
    );
});

test("bytes that are no UTF-8 are replaced", () => {
  const [line] = new LineSplitter().feed(new Uint8Array([0xff, 0x61, 0xc3, 10]));
  assert.equal(line.text, "\ufffda\ufffd");
});

test("what follows a carriage return replaces the line", () => {
  assert.deepEqual(["plain", "10%\r20%\r30%", "windows\r", "10%\r", "", "\r\r"].map(overwritten), [
    "plain",
    "30%",
    "windows",
    "10%",
    "",
    "",
  ]);
});
