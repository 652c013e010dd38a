import assert from "node:assert/strict";
import { test } from "node:test";
import { EventParser } from "./assets/sse.js";

const STREAM =
  ': a comment\r\nid: r-1\nevent: job.created\ndata: {"uid":\ndata:  "é🦄"}\r\r\n:\n\nevent: sample\ndata:{}\n\nevent: lost\n\nid: r-2\rdata: x\r\n\r\ndata: cut';
const EVENTS = [
  { id: "r-1", name: "job.created", data: '{"uid":\n "é🦄"}' },
  { id: "r-1", name: "sample", data: "{}" },
  { id: "r-2", name: "message", data: "x" },
];

test("every split gives the same events", () => {
  for (let first = 0; first <= STREAM.length; first += 1) {
    const parser = new EventParser();
    const events = [...parser.feed(STREAM.slice(0, first)), ...parser.feed(""), ...parser.feed(STREAM.slice(first))];
    assert.deepEqual(events, EVENTS, `split at ${first}`);
  }
});

test("one character at a time gives the same events", () => {
  const parser = new EventParser();
  assert.deepEqual(
    [...STREAM].flatMap((each) => parser.feed(each)),
    EVENTS,
  );
});

test("an id with NUL is ignored", () => {
  assert.deepEqual(new EventParser().feed("id: a\0b\ndata: x\n\n"), [{ id: null, name: "message", data: "x" }]);
});
