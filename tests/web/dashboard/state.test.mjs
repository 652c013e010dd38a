import assert from "node:assert/strict";
import { test } from "node:test";
import { CPU, MEMORY, RECEIVED, STREAMS, Store, tally } from "./assets/state.js";

const agent = (uid, more = {}) => ({
  uid,
  name: uid,
  links: [{ connection: "c", mode: "SERVER" }],
  cordoned: false,
  jobs: 0,
  ...more,
});
const job = (uid, more = {}) => ({
  uid,
  state: "RUNNING",
  agent: "a",
  labels: {},
  name: uid,
  created_at: "2026-01-01T00:00:00Z",
  ...more,
});

function listed(agents = [agent("a")], jobs = [job("j")]) {
  const store = new Store();
  store.beginListing();
  store.listed(agents, jobs);
  return store;
}

const uids = (store) => [...store.jobs.keys()].sort();

test("events change the lists", () => {
  const store = listed();
  store.apply("job.created", job("k", { state: "NEW" }));
  store.apply("job.state", job("j", { state: "FINISHED", exit_code: 3 }));
  assert.deepEqual(uids(store), ["j", "k"]);
  assert.equal(store.job("j").exit_code, 3);
  store.apply("job.removed", job("j", { state: "FINISHED", exit_code: 3 }));
  assert.deepEqual(uids(store), ["k"]);
  assert.ok(store.ended.get("j").removed_at);
  assert.equal(store.job("j").exit_code, 3);
  assert.deepEqual(
    store.activity.map(({ name }) => name),
    ["job.removed", "job.state", "job.created"],
  );
});

test("a job that is removed while it runs does not run any more, and its age stays", () => {
  const store = listed();
  const begun = new Date(Date.now() - 60_000).toISOString();
  store.apply("job.removed", job("j", { state: "RUNNING", started_at: begun, removed_at: null }));
  const gone = store.job("j");
  assert.equal(store.stateOf(gone), "CLOSED");
  const ran = (Date.parse(gone.removed_at) - Date.parse(begun)) / 1000;
  assert.ok(Math.abs(store.age(gone) - ran) < 0.001);
});

test("an event that came while a list was under way holds", () => {
  const store = listed();
  store.beginListing();
  store.apply("job.state", job("j", { state: "FINISHED" }));
  store.apply("job.created", job("new"));
  store.apply("job.created", job("short"));
  store.apply("job.removed", job("short"));
  store.apply("agent.cordoned", agent("a", { cordoned: true }));
  store.listed([agent("a")], [job("j"), job("short"), job("other")]);
  assert.deepEqual(uids(store), ["j", "new", "other"]);
  assert.equal(store.jobs.get("j").state, "FINISHED");
  assert.ok(store.agents.get("a").cordoned);
});

test("a list replaces what was known before it", () => {
  const store = listed();
  store.apply("job.created", job("old"));
  store.beginListing();
  store.listed([], [job("k")]);
  assert.deepEqual(uids(store), ["k"]);
  assert.equal(store.agents.size, 0);
});

test("jobs of an agent without a link are unreachable, but for those that have ended", () => {
  const store = listed([agent("a")], [job("j"), job("f", { state: "FINISHED" })]);
  store.apply("agent.down", agent("a", { links: [] }));
  assert.equal(store.stateOf(store.jobs.get("j")), "UNREACHABLE");
  assert.equal(store.stateOf(store.jobs.get("f")), "FINISHED");
  store.apply("agent.up", agent("a"));
  assert.equal(store.stateOf(store.jobs.get("j")), "RUNNING");
});

test("figures are those of the newest event, otherwise those of the job", () => {
  const store = listed([agent("a")], [job("j", { rss_bytes: 5, open_streams: 2 })]);
  const figure = (which) => store.figure(store.jobs.get("j"), which);
  assert.deepEqual([CPU, MEMORY, STREAMS, RECEIVED].map(figure), [null, 5, 2, null]);
  store.apply("figures", { jobs: { j: [0.5, 7, 3, 11, 12, 4.5] } });
  assert.deepEqual([CPU, MEMORY, STREAMS, RECEIVED].map(figure), [0.5, 7, 3, 11]);
  assert.ok(Math.abs(store.idle(store.jobs.get("j")) - 4.5) < 2);
});

test("ages are by the clock of the server", () => {
  const store = listed();
  const now = Date.now() / 1000;
  const begun = new Date((now + 3000) * 1000).toISOString();
  store.setClock(now + 3600);
  assert.ok(Math.abs(store.age(job("x", { started_at: begun })) - 600) < 5);
  assert.ok(Math.abs(store.idle(job("x", { last_request_at: begun })) - 600) < 5);
  const ended = job("x", {
    state: "FINISHED",
    started_at: "2026-01-01T00:00:00Z",
    finished_at: "2026-01-01T00:01:00Z",
  });
  assert.equal(store.age(ended), 60);
  store.setClock(now + 0.4);
  assert.equal(store.skew, 0);
});

test("a job that waits has the newest line of its engine", () => {
  const pool = (message) => ({
    name: "slurm",
    max: 2,
    parameters: [],
    agents: [],
    requests: [{ id: "r", state: "queued", job: "q", message }],
  });
  const store = listed([agent("a")], [job("j"), job("q", { state: "QUEUED", agent: null, message: "" })]);
  store.poolsListed([pool("srun: queued")]);
  assert.equal(store.job("q").message, "srun: queued");
  assert.equal(store.job("q").pool, "slurm");
  store.apply("job.state", job("q"));
  store.poolsListed([pool("pagent: joining")]);
  assert.equal(store.job("q").state, "RUNNING");
  assert.equal(store.job("q").message, undefined);
});

test("samples are bounded, and so is the activity", () => {
  const store = listed();
  for (let time = 0; time < 2000; time += 1) store.apply("sample", { time, jobs: 1 });
  for (let number = 0; number < 500; number += 1) store.apply("job.created", job(`j${number}`));
  assert.ok(store.samples.length < 1000 && store.activity.length < 200);
  assert.equal(store.samples.at(-1).time, 1999);
});

test("a listener is called once for several changes", async () => {
  const store = listed();
  await null;
  let calls = 0;
  const off = store.on("jobs activity", () => {
    calls += 1;
  });
  for (let number = 0; number < 10; number += 1) store.apply("job.created", job(`j${number}`));
  await new Promise((resolve) => setTimeout(resolve));
  assert.equal(calls, 1);
  off();
  store.apply("job.created", job("last"));
  await new Promise((resolve) => setTimeout(resolve));
  assert.equal(calls, 1);
});

test("jobs are counted by state", () => {
  assert.deepEqual(
    [...tally(["a", "b", "a"])],
    [
      ["a", 2],
      ["b", 1],
    ],
  );
});
