import assert from "node:assert/strict";
import { test } from "node:test";
import { refusals } from "./assets/actions.js";

const JOB = { uid: "j1", state: "RUNNING", ports: [8080] };
const ALL = { refusal: () => null };

function refused(job, api = ALL) {
  return Object.entries(refusals({ ...JOB, ...job }, api))
    .filter(([, reason]) => reason)
    .map(([action]) => action);
}

test("a job that runs and has a port takes all actions", () => {
  assert.deepEqual(refused({}), []);
});

test("a job without a known port is not opened, but has tickets for a port that is named", () => {
  for (const ports of [[], null, undefined]) assert.deepEqual(refused({ ports }), ["open"]);
});

test("a job that does not run is removed only", () => {
  for (const state of ["NEW", "QUEUED", "FINISHED", "CLOSED"])
    assert.deepEqual(refused({ state }), ["open", "ticket", "kill"]);
});

test("a job that is gone takes no action", () => {
  assert.deepEqual(refused({ removed_at: "2026-11-30T12:00:00Z" }), ["open", "ticket", "kill", "remove"]);
});

test("the scopes are asked for each action", () => {
  const of = (granted) => ({ refusal: (scope) => (scope === granted ? null : `no ${scope}`) });
  assert.deepEqual(refused({}, of("proxy")), ["kill", "remove"]);
  assert.deepEqual(refused({}, of("jobs")), ["open", "ticket"]);
});
