import assert from "node:assert/strict";
import { test } from "node:test";
import { extent, nearest, pieces, scale } from "./assets/plot.js";

test("an axis ends at a round number that is not below the largest value", () => {
  const cases = [
    [0, 1, 1, 5],
    [4, 4, 4, 5],
    [5, 1, 6, 4],
    [97, 1, 100, 3],
    [1234, 1, 1500, 4],
    [0.0301, 0.01, 0.04, 5],
  ];
  for (const [largest, least, end, ticks] of cases) {
    const found = scale(largest, least);
    assert.ok(Math.abs(found.end - end) <= end * 1e-9 + 0.5 * (end === 1 ? 1 : 0), `${largest}: ${found.end}`);
    assert.ok(found.end >= largest);
    if (largest) assert.equal(found.ticks.length, ticks, `${largest}: ${found.ticks}`);
  }
});

test("every axis has a few ticks, from 0 to its end", () => {
  for (let value = 1e-9; value < 1e15; value *= 1.37) {
    const { end, ticks } = scale(value, 1e-12);
    assert.ok(end >= value * (1 - 1e-9) && end <= value * 2.51, `${value}: ${end}`);
    assert.equal(ticks[0], 0);
    assert.ok(ticks.length >= 3 && ticks.length <= 6, `${value}: ${ticks}`);
    assert.ok(Math.abs(ticks.at(-1) - end) <= end * 1e-9);
  }
});

test("values that are none do not spoil an axis", () => {
  for (const value of [NaN, Infinity, -1, undefined]) assert.equal(scale(value, 10).end, 10);
});

const value = (sample) => sample.value;

test("a line has gaps where samples are missing", () => {
  const samples = [
    [1, 1],
    [2, null],
    [3, 3],
    [20, 4],
    [21, NaN],
    [22, 5],
  ].map(([time, each]) => ({ time, value: each }));
  assert.deepEqual(pieces(samples, value), [
    [
      [1, 1],
      [3, 3],
    ],
    [
      [20, 4],
      [22, 5],
    ],
  ]);
  assert.deepEqual(pieces([], value), []);
});

test("the extent is that of the values that are known", () => {
  assert.deepEqual(extent([{ value: 1 }, { value: null }, { value: 3 }], value), { low: 1, high: 3, mean: 2 });
  assert.equal(extent([{ value: null }], value), null);
});

test("the nearest sample is found", () => {
  const samples = [{ time: 1 }, { time: 2 }, { time: 10 }];
  assert.deepEqual(
    [-5, 1.4, 1.6, 5, 7, 99].map((time) => nearest(samples, time)),
    [0, 0, 1, 1, 2, 2],
  );
  assert.equal(nearest([], 1), -1);
});
