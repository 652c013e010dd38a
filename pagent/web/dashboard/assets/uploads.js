// Uploads into the folder of a job: several at once, with progress; a large one continues where it was cut off.

import { ApiError } from "./api.js";
import { joined, resource } from "./paths.js";

const AT_ONCE = 2;
// A file of this size or more is kept in part by the agent when its upload is cut off (docs/api.rst, "Files").
const LARGE = 4 * 1024 * 1024;
const TRIES = 5;
const BACKOFF_MS = 1000;
// Failures that are listed one by one.
const FAILED_MAX = 50;
const CANCELLED = "AbortError";

export const State = Object.freeze({
  WAITING: "waiting",
  CHECKING: "checking",
  SENDING: "sending",
  DONE: "done",
  SKIPPED: "skipped",
  FAILED: "failed",
  CANCELLED: "cancelled",
});
const OVER = new Set([State.DONE, State.SKIPPED, State.FAILED, State.CANCELLED]);

// One file. ``changed`` is called after each change of its state, its progress or its error.
export class Upload {
  #changed;
  #aborting = new AbortController();

  constructor(file, path, changed) {
    this.file = file;
    this.path = path;
    this.state = State.WAITING;
    this.sent = 0;
    this.error = null;
    this.#changed = changed;
  }

  get isOver() {
    return OVER.has(this.state);
  }

  cancel() {
    if (this.isOver) return;
    this.#aborting.abort();
    if (this.state === State.WAITING) this.#become(State.CANCELLED);
  }

  #become(state) {
    this.state = state;
    this.#changed(this);
  }

  // Send the file; never rejects. ``ask``: takes a path, and returns whether the file there may be replaced.
  async run(api, uid, ask) {
    if (this.isOver) return;
    try {
      const target = resource(uid, this.path);
      this.#become(await this.#store(api, target, ask));
    } catch (error) {
      this.error = error;
      this.#become(error.name === CANCELLED ? State.CANCELLED : State.FAILED);
    }
  }

  async #store(api, target, ask) {
    const isLarge = this.file.size >= LARGE;
    let condition = { "If-None-Match": "*" };
    if (isLarge) {
      // The body is not sent for nothing: an existing file is asked about first.
      condition = await this.#condition(api, target, ask);
      if (!condition) return State.SKIPPED;
    }
    for (;;) {
      try {
        await this.#send(api, target, condition, isLarge);
        return State.DONE;
      } catch (error) {
        if (error.status !== 412) throw error;
      }
      condition = await this.#condition(api, target, ask);
      if (!condition) return State.SKIPPED;
    }
  }

  // Return the fields that make the upload replace the version that is there now, or none; null if it may not.
  async #condition(api, target, ask) {
    let response;
    try {
      response = await api.fetch("HEAD", target, { signal: this.#aborting.signal });
    } catch (error) {
      if (error.status === 404) return { "If-None-Match": "*" };
      throw error;
    }
    if (!(await ask(this.path))) return null;
    const tag = response.headers.get("ETag");
    return tag ? { "If-Match": tag } : {};
  }

  async #send(api, target, condition, isLarge) {
    let from = isLarge ? await this.#kept(api, target) : 0;
    let digest = from ? await this.#digest() : null;
    for (let tries = 1; ; tries += 1) {
      const query = isLarge ? { partial: 1, offset: from || null, sha256: digest } : {};
      try {
        await this.#put(api, target, query, condition, from);
        return;
      } catch (error) {
        if (error.status === 422 && from) {
          from = 0; // the part that was kept is of another file
          digest = null;
        } else if (error.status === 409 && error.offset !== null && error.offset < from) from = error.offset;
        else if (error.status !== 0 || tries === TRIES) throw error;
        else {
          await this.#readable();
          await this.#pause(BACKOFF_MS * 2 ** (tries - 1));
          // Bytes that this page has sent need no digest.
          from = isLarge ? await this.#kept(api, target).catch(() => 0) : 0;
        }
      }
    }
  }

  // Return how much of an upload of this file is kept from before.
  async #kept(api, target) {
    const response = await api.fetch("HEAD", target, { query: { partial: 1 }, signal: this.#aborting.signal });
    const kept = Number(response.headers.get("X-Pagent-Offset"));
    return kept <= this.file.size ? kept : 0;
  }

  // A browser reports a file that has changed, or cannot be read, as a lost connection.
  async #readable() {
    try {
      await this.file.slice(0, 1).arrayBuffer();
    } catch {
      throw new Error("The file cannot be read, or has changed.");
    }
  }

  #digest() {
    this.sent = 0;
    this.#become(State.CHECKING);
    const { promise, resolve, reject } = deferred();
    const worker = new Worker(new URL("sha256_worker.js", import.meta.url), { type: "module" });
    const abort = () => reject(new DOMException("cancelled", CANCELLED));
    this.#aborting.signal.addEventListener("abort", abort);
    worker.onmessage = ({ data }) => {
      if (data.digest) resolve(data.digest);
      else if (data.error) reject(new Error(data.error));
      else this.#progress(data.done);
    };
    worker.onerror = () => reject(new Error("The file could not be checked."));
    worker.postMessage(this.file);
    return promise.finally(() => {
      worker.terminate();
      this.#aborting.signal.removeEventListener("abort", abort);
    });
  }

  #progress(sent) {
    this.sent = sent;
    this.#changed(this);
  }

  #pause(ms) {
    const { promise, resolve, reject } = deferred();
    const abort = () => reject(new DOMException("cancelled", CANCELLED));
    this.#aborting.signal.throwIfAborted();
    this.#aborting.signal.addEventListener("abort", abort);
    setTimeout(resolve, ms);
    return promise.finally(() => this.#aborting.signal.removeEventListener("abort", abort));
  }

  // XMLHttpRequest, because fetch reports no progress of a body. The browser reads the file as it sends it.
  #put(api, target, query, condition, from) {
    this.#aborting.signal.throwIfAborted();
    this.#become(State.SENDING);
    const { promise, resolve, reject } = deferred();
    const request = new XMLHttpRequest();
    const abort = () => request.abort();
    request.open("PUT", api.url(target, query));
    const fields = { ...api.headers(), ...condition, "Content-Type": "application/octet-stream" };
    for (const [name, value] of Object.entries(fields)) request.setRequestHeader(name, value);
    this.#progress(from);
    request.upload.onprogress = (event) => this.#progress(from + event.loaded);
    request.onload = () => {
      if (request.status >= 200 && request.status < 300) resolve();
      else reject(problem(request));
    };
    request.onerror = () => reject(new ApiError(0, "No answer", "The connection was lost.", null));
    request.onabort = () => reject(new DOMException("cancelled", CANCELLED));
    this.#aborting.signal.addEventListener("abort", abort);
    request.send(this.file.slice(from));
    return promise.finally(() => this.#aborting.signal.removeEventListener("abort", abort));
  }
}

function deferred() {
  const parts = {};
  parts.promise = new Promise((resolve, reject) => Object.assign(parts, { resolve, reject }));
  return parts;
}

function problem(request) {
  let fields = {};
  try {
    fields = JSON.parse(request.responseText);
  } catch {
    // An answer of a proxy, or a conflict with an offset, has no problem details.
  }
  const title = fields.title || request.statusText || `Status ${request.status}`;
  const id = fields.request_id || request.getResponseHeader("X-Request-Id");
  const error = new ApiError(request.status, title, fields.detail || title, id);
  const offset = request.getResponseHeader("X-Pagent-Offset");
  error.offset = offset === null ? null : Number(offset);
  return error;
}

// Files that were given at once. ``files``: an asynchronous iterator of {file, path}, which is read as they are sent: the
// files of a large folder are never all in memory.
export class Batch {
  #files;
  #changed;
  #isCancelled = false;

  constructor(files, changed) {
    this.#files = files;
    this.#changed = changed;
    this.uploads = new Set(); // that are not over, or have failed
    this.counts = { done: 0, skipped: 0, failed: 0, cancelled: 0 };
    this.bytes = 0;
    this.isOver = false;
    this.error = null;
  }

  get active() {
    return [...this.uploads].filter((upload) => !upload.isOver);
  }

  get failed() {
    return [...this.uploads].filter((upload) => upload.state === State.FAILED);
  }

  cancel() {
    this.#isCancelled = true;
    for (const upload of this.uploads) upload.cancel();
  }

  // Send all; never rejects. ``error``: why the rest of the files could not be read, or null.
  async run(api, uid, folder, ask) {
    const one = async () => {
      for (;;) {
        const next = this.#isCancelled ? { done: true } : await this.#files.next();
        if (next.done) return;
        const { file, path } = next.value;
        await this.#upload(new Upload(file, joined(folder, path), () => this.#changed()), api, uid, ask);
      }
    };
    const results = await Promise.allSettled(Array.from({ length: AT_ONCE }, one));
    this.error = results.find((result) => result.status === "rejected")?.reason ?? null;
    this.isOver = true;
    this.#changed();
  }

  async #upload(upload, api, uid, ask) {
    this.uploads.add(upload);
    await upload.run(api, uid, ask);
    this.counts[upload.state] += 1;
    if (upload.state === State.DONE) this.bytes += upload.file.size;
    if (upload.state !== State.FAILED || this.failed.length > FAILED_MAX) this.uploads.delete(upload);
    this.#changed();
  }
}
