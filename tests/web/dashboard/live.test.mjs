import assert from "node:assert/strict";
import { test } from "node:test";
import { ApiError } from "./assets/api.js";
import { Live } from "./assets/live.js";
import { Store } from "./assets/state.js";

const AGENT = { uid: "a", name: "a", links: [{}], cordoned: false };
const job = (uid, state = "RUNNING") => ({ uid, state, agent: "a", labels: {} });

// A client of the API whose streams are scripts: lists of events, an error to throw, or "wait".
class ScriptedApi extends EventTarget {
  jobs = [job("j1")];
  asked = [];
  lists = 0;

  constructor(...streams) {
    super();
    this.streams = streams;
  }

  async all(path) {
    if (path !== "jobs") return [AGENT];
    this.lists += 1;
    return this.jobs;
  }

  async identify() {
    this.caller = { scopes: [] };
  }

  async get() {
    return { pools: [] };
  }

  async *events(last, alive, signal) {
    this.asked.push(last);
    for (const each of this.streams.shift() ?? ["wait"]) {
      if (each instanceof Error) throw each;
      if (each === "wait" && !signal.aborted) await new Promise((resolve) => signal.addEventListener("abort", resolve));
      else if (each !== "wait") yield each;
      // The lists come between the events.
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}

async function until(condition) {
  for (let turn = 0; turn < 2000 && !condition(); turn += 1) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.ok(condition());
}

const open = (id) => ({ id, name: "open", data: null });

test("a stream that ends is opened again where it has ended", async () => {
  const api = new ScriptedApi(
    [open("r-5"), { id: "r-6", name: "job.created", data: job("j2") }],
    [open("r-6"), "wait"],
  );
  const [store, states] = [new Store(), []];
  const live = new Live(api, store);
  live.addEventListener("change", () => states.push(live.state));
  live.start();
  await until(() => api.asked.length === 2 && live.state === "live");
  live.stop();
  assert.deepEqual(api.asked, [null, "r-6"]);
  assert.equal(api.lists, 1);
  assert.ok(store.jobs.has("j2"));
  assert.ok(states.includes("lost"));
});

test("reset lists again", async () => {
  const api = new ScriptedApi([open("r-5"), { id: "s-1", name: "reset", data: {} }, "wait"]);
  const store = new Store();
  const live = new Live(api, store);
  live.start();
  await until(() => api.lists === 1 && store.isListed);
  api.jobs = [job("j9")];
  await until(() => api.lists === 2 && store.jobs.has("j9"));
  live.stop();
  assert.ok(!store.jobs.has("j1"));
});

test("a token that is not valid ends the attempts, until there is another one", async () => {
  const api = new ScriptedApi(
    [new ApiError(401, "Unauthorized", "the token is not valid", "id-1")],
    [open("r-1"), "wait"],
  );
  const live = new Live(api, new Store());
  live.start();
  await until(() => live.state === "unauthorized");
  assert.equal(live.error.requestId, "id-1");
  live.start();
  await until(() => live.state === "live");
  live.stop();
});

test("a list that fails is made again with the next stream", async () => {
  const api = new ScriptedApi([open("r-1"), "wait"], [open("r-2"), "wait"]);
  const all = api.all.bind(api);
  let failures = 1;
  api.all = (path) => (failures-- > 0 ? Promise.reject(new ApiError(503, "Unavailable", "not yet", null)) : all(path));
  const store = new Store();
  const live = new Live(api, store);
  live.start();
  await until(() => live.state === "lost" && live.retryAt);
  assert.equal(live.error.message, "not yet");
  await until(() => live.state === "live");
  live.stop();
  assert.deepEqual(api.asked, [null, null]);
  assert.ok(store.isListed);
});

test("another token is asked for its rights and its jobs, though the stream is resumed", async () => {
  const api = new ScriptedApi([open("r-5"), "wait"], [open("r-5"), "wait"]);
  const store = new Store();
  const live = new Live(api, store);
  live.start();
  await until(() => live.state === "live");
  api.caller = null; // as Api does it for a new token
  live.start();
  await until(() => api.lists === 2 && api.caller !== null);
  live.stop();
});

for (const status of [401, 403]) {
  test(`a token that is refused with ${status} is not tried again`, async () => {
    const api = new ScriptedApi([new ApiError(status, "Refused", "no", "1")]);
    const live = new Live(api, new Store());
    live.start();
    await until(() => live.state === "unauthorized");
    assert.equal(live.retryAt, null);
    assert.equal(live.error.status, status);
    live.stop();
  });
}

test("a stream that is lost says so once, so that other connections are looked at", async () => {
  const api = new ScriptedApi([open("r-5")], [new ApiError(503)], [new ApiError(503)], [open("r-6"), "wait"]);
  const [store, lost] = [new Store(), []];
  const live = new Live(api, store);
  api.addEventListener("lost", () => lost.push(live.state));
  live.start();
  await until(() => api.asked.length === 4 && live.state === "live");
  assert.deepEqual(lost, ["live"]);
  live.stop();
});
