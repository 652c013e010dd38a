import assert from "node:assert/strict";
import { test } from "node:test";
import { Filter } from "./assets/filter.js";
import { Store } from "./assets/state.js";
import { backoff } from "./assets/live.js";
import { sorted } from "./assets/table.js";

const order = (rows, descending) =>
  sorted(
    rows,
    (row) => row.value,
    descending,
    (row) => row.key,
  )
    .map((row) => row.key)
    .join("");

test("rows without a value are last in both directions", () => {
  const rows = [
    { key: "a", value: null },
    { key: "b", value: 2 },
    { key: "c", value: 10 },
    { key: "d", value: undefined },
  ];
  assert.equal(order(rows, false), "bcad");
  assert.equal(order(rows, true), "cbad");
});

test("equal rows are in the order of their keys, and numbers in names count as numbers", () => {
  assert.equal(
    order(
      [
        { key: "b", value: "x" },
        { key: "a", value: "x" },
      ],
      true,
    ),
    "ab",
  );
  assert.equal(
    order(
      [
        { key: "a", value: "job 10" },
        { key: "b", value: "job 9" },
      ],
      false,
    ),
    "ba",
  );
});

test("all words of a filter have to fit", () => {
  const store = new Store();
  store.agents.set("a1", { uid: "a1", name: "node7" });
  const job = {
    uid: "0f3a",
    name: "Notebook of Ann",
    state: "RUNNING",
    agent: "a1",
    owner: "ann",
    labels: { course: "p-1" },
  };
  const cases = [
    ["", true],
    ["notebook", true],
    ["0f3", true],
    ["node7", true],
    ["course=p", true],
    ["notebook bob", false],
    ["agent:node", true],
    ["agent:a1 owner:ann", true],
    ["owner:bob", false],
    ["state:run", true],
    ["pool:x", false],
    ["(.*", false],
  ];
  for (const [query, fits] of cases) assert.equal(new Filter(query).fits(job, store), fits, query);
});

test("the wait for a lost connection is doubled, spread and bounded", () => {
  assert.equal(backoff(0, 0), 250);
  assert.equal(backoff(0, 1), 500);
  assert.equal(backoff(3, 1), 4000);
  assert.ok(backoff(1000, 1) <= 30_000);
});
