import assert from "node:assert/strict";
import { test } from "node:test";
import { termsOf } from "./assets/ticket_form.js";

const FORM = { ports: "", ttl_s: "3600", code_s: "60", subject: "", note: "  " };

test("fields that are empty are no terms", () => {
  assert.deepEqual(termsOf(FORM), { ttl_s: 3600, code_s: 60 });
});

test("ports are numbers, however they are separated", () => {
  assert.deepEqual(termsOf({ ...FORM, ports: " 80, 8080  9000," }).ports, [80, 8080, 9000]);
});

test("an address is not good for longer than its ticket", () => {
  assert.equal(termsOf({ ...FORM, code_s: "43200" }).code_s, 3600);
});

test("texts are trimmed, and the frame is a choice", () => {
  const terms = termsOf({ ...FORM, subject: " ann ", note: "x", embed: "1" });
  assert.deepEqual(terms, { ttl_s: 3600, code_s: 60, subject: "ann", note: "x", embed: true });
});
