import assert from "node:assert/strict";
import { test } from "node:test";
import { ApiError, isToken } from "./assets/api.js";

test("an error has the words of the server, without the number of the system", () => {
  assert.equal(new ApiError(404, "Not Found", "[Errno 2] No such file: 'x [Errno 2] '", "id").message, "No such file: 'x [Errno 2] '");
  assert.equal(new ApiError(502, "Bad Gateway", "", null).message, "Bad Gateway");
  assert.equal(new ApiError(409, "Conflict", "the job has ended", null).detail, "the job has ended");
});

test("a token has no spaces and no characters beyond ASCII", () => {
  assert.deepEqual(["a-token", "a~!", "", "a b", "a\n", "ä"].map(isToken), [true, true, false, false, false, false]);
});
