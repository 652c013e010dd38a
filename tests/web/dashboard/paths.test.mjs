import assert from "node:assert/strict";
import { test } from "node:test";
import * as paths from "./assets/paths.js";

test("a path is one segment of an address, whatever it has", () => {
  for (const path of ["a/b", "..%2f..", "%2e%2e", "a#b?c", "a\\b", "line\nfeed", "\u{10fe80}"]) {
    const url = new URL(`v1/${paths.resource("u", path)}`, "http://host/");
    assert.equal(url.pathname.split("/").length, 6, path);
    assert.equal(decodeURIComponent(url.pathname.split("/")[5]), path);
    assert.equal(url.search + url.hash, "");
  }
});

test("what would be another resource of the API is refused", () => {
  for (const path of [".", "..", "a/..", "../x", "a//b", "/", "a/"]) {
    assert.equal(paths.isValid(path), false, path);
    assert.throws(() => paths.resource("u", path));
  }
  assert.equal(paths.resource("u", ""), "jobs/u/files");
});

test("halves of surrogate pairs are replaced", () => {
  assert.equal(paths.resource("u", "a\ud800b"), "jobs/u/files/a%EF%BF%BDb");
});

test("a mask of a folder has nothing special but its end", () => {
  assert.equal(paths.maskOf("a[b]*?"), "a[[]b][*][?]/*");
  assert.equal(paths.maskOf(""), null);
});

test("a saved file has a name that every system takes", () => {
  assert.equal(paths.savable("a/b\\c:d"), "a_b_c_d");
  assert.equal(paths.savable("\u202egnp.exe"), "_gnp.exe");
  assert.equal(paths.savable(".."), "_");
  assert.equal(paths.savable(""), "file");
  assert.equal(Array.from(paths.savable("x".repeat(500))).length, 200);
});

test("names and folders of paths", () => {
  assert.deepEqual(
    [paths.nameOf("a/b"), paths.nameOf("a"), paths.folderOf("a/b"), paths.folderOf("a")],
    ["b", "a", "a", ""],
  );
});
