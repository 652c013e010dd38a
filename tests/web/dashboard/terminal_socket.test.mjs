import assert from "node:assert/strict";
import { test } from "node:test";
import { State, TerminalSocket, words } from "./assets/terminal_socket.js";

test("words of a command line", () => {
  assert.deepEqual(words("python3 -i  'a b' \"c \\\" d\" e\\ f ''"), ["python3", "-i", "a b", 'c " d', "e f", ""]);
  assert.deepEqual(words("  "), []);
});

// A WebSocket that keeps what is sent, and is driven by the test.
class FakeSocket {
  static OPEN = 1;
  static last = null;

  constructor(url, protocols) {
    Object.assign(this, { url, protocols, readyState: 1, bufferedAmount: 0, sent: [] });
    FakeSocket.last = this;
  }

  send(data) {
    this.sent.push(data);
  }

  close() {
    this.onclose({ code: 1000, reason: "" });
  }
}
globalThis.WebSocket = FakeSocket;

const api = {
  refusal: () => null,
  get: async () => ({ state: "RUNNING" }),
  socket: (path, query) => ({
    url: new URL(`ws://host/${path}?${new URLSearchParams({ window: query.window })}`),
    protocols: [],
  }),
};

function opened() {
  const socket = new TerminalSocket(api, "u", null, 24, 80);
  FakeSocket.last.onopen();
  return { socket, ws: FakeSocket.last };
}

function output(length) {
  const data = new Uint8Array(length + 1);
  data[0] = 1;
  return { data: data.buffer };
}

test("output is acknowledged when it was drawn, and not before", () => {
  const { socket, ws } = opened();
  const drawn = [];
  socket.onOutput = (data, used) => drawn.push(used);
  for (let i = 0; i < 4; i += 1) ws.onmessage(output(20_000));
  assert.deepEqual(ws.sent, []);
  drawn.forEach((used) => used());
  assert.deepEqual(
    ws.sent.map((text) => JSON.parse(text)),
    [{ ack: 80_000 }],
  );
});

test("input is sent in pieces, and waits while the socket is full", async () => {
  const { socket, ws } = opened();
  ws.bufferedAmount = 1e6;
  socket.input("x".repeat(100_000));
  assert.deepEqual(ws.sent, []);
  ws.bufferedAmount = 0;
  await new Promise((done) => setTimeout(done, 100));
  assert.equal(
    ws.sent.reduce((sum, piece) => sum + piece.length - 1, 0),
    100_000,
  );
  assert.ok(ws.sent.every((piece) => piece[0] === 0 && piece.length <= 32 * 1024 + 1));
});

test("input beyond what may wait is refused", () => {
  const { socket, ws } = opened();
  ws.bufferedAmount = 1e9;
  let full = 0;
  socket.onFull = () => (full += 1);
  socket.input(new Uint8Array(10e6));
  socket.input(new Uint8Array(10e6));
  assert.equal(full, 1);
  ws.close();
});

test("the end has the exit code, or the reason", async () => {
  const ended = async (act) => {
    const { socket, ws } = opened();
    const over = new Promise((done) => (socket.onState = () => done(socket)));
    act(ws);
    const { state, code, reason } = await over;
    assert.equal(state, State.ENDED);
    return [code, reason];
  };
  const exit = (ws) => {
    ws.onmessage({ data: '{"exit": -15}' });
    ws.onclose({ code: 1000, reason: "" });
  };
  assert.deepEqual(await ended(exit), [-15, ""]);
  assert.deepEqual(await ended((ws) => ws.onclose({ code: 1011, reason: "gone" })), [null, "Ended: gone"]);
  assert.match((await ended((ws) => ws.onclose({ code: 1006, reason: "" })))[1], /connection was lost/);
});

test("a start that was refused has a reason that can be acted on", async () => {
  const socket = new TerminalSocket(api, "u", null, 24, 80);
  const over = new Promise((done) => (socket.onState = done));
  FakeSocket.last.onclose({ code: 1006, reason: "" });
  await over;
  assert.match(socket.reason, /no shell/);
});
