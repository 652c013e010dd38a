import assert from "node:assert/strict";
import { test } from "node:test";
import { refusal } from "./assets/rights.js";

const JOB = { uid: "j1", agent: "a1", labels: { "pagent/owner": "ann", course: "p=1" } };

function may(scopes, scope, target, name = "ann") {
  return refusal({ name, open: false, scopes }, scope, target) === null;
}

test("a scope without a limit is good for own jobs", () => {
  assert.ok(may(["jobs"], "jobs", { job: JOB }));
  assert.ok(!may(["jobs"], "jobs", { job: JOB }, "bob"));
  assert.ok(!may(["jobs"], "jobs", { job: { ...JOB, labels: {} } }, null));
});

test("limits of a scope", () => {
  const cases = [
    ["jobs!any", true],
    ["jobs!job=j1", true],
    ["jobs!job=j2", false],
    ["jobs!agent=a1", true],
    ["jobs!agent=a2", false],
    ["jobs!label.course=p=1", true],
    ["jobs!label.course=p", false],
    ["jobs!label.none=", false],
    ["read!any", false],
    ["jobsx!any", false],
  ];
  for (const [scope, expected] of cases) assert.equal(may([scope], "jobs", { job: JOB }, "bob"), expected, scope);
});

test("admin is for agents", () => {
  assert.ok(may(["admin"], "admin", { agent: { uid: "a1" } }));
  assert.ok(may(["admin!agent=a1"], "admin", { agent: { uid: "a1" } }));
  assert.ok(!may(["admin!agent=a2"], "admin", { agent: { uid: "a1" } }));
});

test("an open router without scopes refuses nothing; one that has scopes means them", () => {
  assert.equal(refusal({ name: null, open: true, scopes: [] }, "exec", { job: JOB }), null);
  assert.match(refusal({ name: null, open: true, scopes: ["read!any"] }, "exec", { job: JOB }), /scope “exec”/);
  assert.match(refusal({ name: null, open: false, scopes: [] }, "exec"), /scope “exec”/);
  assert.ok(refusal(null, "read"));
});
