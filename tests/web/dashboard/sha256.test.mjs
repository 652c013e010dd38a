import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { test } from "node:test";
import { Sha256 } from "./assets/sha256.js";

function digest(pieces) {
  const hash = new Sha256();
  for (const piece of pieces) hash.update(new Uint8Array(piece));
  return hash.digest();
}

test("digests of every length around the end of a block are those of the library", () => {
  const data = randomBytes(200);
  for (let length = 0; length <= 200; length += 1) {
    const piece = data.subarray(0, length);
    assert.equal(digest([piece]), createHash("sha256").update(piece).digest("hex"));
  }
});

test("every split has the same digest", () => {
  const data = randomBytes(150);
  const whole = digest([data]);
  for (let at = 0; at <= 150; at += 1) assert.equal(digest([data.subarray(0, at), data.subarray(at)]), whole);
  assert.equal(digest([...data].map((byte) => [byte])), whole);
});
