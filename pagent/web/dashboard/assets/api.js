// The client of /v1: requests with the token of this page, errors with the server's words.

import { EventParser } from "./sse.js";
import { refusal } from "./rights.js";
import { stored, store } from "./stored.js";

const TOKEN = "token";
const OF_TAB = { ofTab: true };
const PAGE_MAX = 500;
// The number of an error of the system is for programs.
const ERRNO = /^\[Errno \d+\] /;

// Whether a text can be a token: the field of a request takes no other characters.
export function isToken(text) {
  return /^[!-~]+$/.test(text);
}

// An answer that is an error, or a request without an answer (status 0).
export class ApiError extends Error {
  constructor(status, title, detail, requestId) {
    super((detail || title || "").replace(ERRNO, ""));
    this.name = "ApiError";
    this.status = status;
    this.title = title;
    this.detail = detail;
    this.requestId = requestId;
  }
}

// Emits "token" when the token or its rights change, "unauthorized" (detail: an ApiError) when the router wants another
// token, "ask" when a part of the page wants the form of the token, "date" (detail: epoch seconds of the server) with each
// answer, and "lost" when the stream of events is lost.
export class Api extends EventTarget {
  #base;
  #token;

  constructor(base) {
    super();
    this.#base = base;
    this.#token = stored(TOKEN, OF_TAB);
    this.caller = null;
  }

  get token() {
    return this.#token;
  }

  set token(value) {
    this.#token = value || null;
    this.caller = null; // its rights are asked for anew
    store(TOKEN, this.#token, OF_TAB);
    this.dispatchEvent(new Event("token"));
  }

  // The address of a path of the API: url("jobs/abc/logs", {stream: "stderr"}).
  // A value that is a list stands in the query once for each entry.
  url(path, query = {}) {
    const url = new URL(`v1/${path}`, this.#base);
    for (const [name, value] of Object.entries(query)) {
      if (value === null || value === undefined) continue;
      for (const each of Array.isArray(value) ? value : [value]) url.searchParams.append(name, each);
    }
    return url;
  }

  // The fields that authorise a request.
  headers() {
    return this.#token ? { Authorization: `Bearer ${this.#token}` } : {};
  }

  // The address of a WebSocket, and its subprotocols, which carry the token (docs/api.rst, "Exec").
  socket(path, query) {
    const url = this.url(path, query);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const protocols = ["pagent.exec.v1"];
    if (this.#token) protocols.push(`pagent.bearer.${base64url(this.#token)}`);
    return { url: url.href, protocols };
  }

  // Make a request, and return its answer, which is a success; ApiError otherwise.
  async fetch(method, path, { query, json, body, headers = {}, signal } = {}) {
    const options = { method, signal, headers: { ...this.headers(), ...headers }, cache: "no-store" };
    options.credentials = "same-origin";
    if (json !== undefined) {
      options.body = JSON.stringify(json);
      options.headers["Content-Type"] = "application/json";
    } else if (body !== undefined) options.body = body;
    const token = this.#token;
    let response;
    try {
      response = await fetch(this.url(path, query), options);
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new ApiError(0, "No answer", "The router does not answer.", null);
    }
    this.#note(response);
    if (response.ok) return response;
    const error = await problem(response);
    if (error.status === 401 && token === this.#token) {
      this.dispatchEvent(new CustomEvent("unauthorized", { detail: error }));
    }
    throw error;
  }

  #note(response) {
    const time = Date.parse(response.headers.get("Date") ?? "");
    if (!Number.isNaN(time)) this.dispatchEvent(new CustomEvent("date", { detail: time / 1000 }));
  }

  async get(path, query, signal) {
    return (await this.fetch("GET", path, { query, signal })).json();
  }

  async send(method, path, json) {
    const response = await this.fetch(method, path, { json });
    return response.status === 204 ? null : response.json();
  }

  // Return all entries of a list of several pages.
  async all(path, key, query = {}, signal) {
    const found = [];
    let after;
    do {
      const page = await this.get(path, { ...query, limit: PAGE_MAX, after }, signal);
      found.push(...page[key]);
      after = page.next;
    } while (after);
    return found;
  }

  // Ask for the rights of the token.
  async identify(signal) {
    this.caller = await this.get("whoami", {}, signal);
    this.dispatchEvent(new Event("token"));
    return this.caller;
  }

  // Open the form of the token.
  askForToken() {
    this.dispatchEvent(new Event("ask"));
  }

  // Return why this page may not do something; null if it may.
  // refusal("exec", {job}), refusal("admin", {agent})
  refusal(scope, target) {
    return refusal(this.caller, scope, target);
  }

  // Yield the events of the router: {id, name, data}; first {name: "open", id} when the stream has begun.
  // ``alive`` is called with each piece that is received.
  async *events(last, alive, signal) {
    const headers = { Accept: "text/event-stream" };
    if (last) headers["Last-Event-ID"] = last;
    const response = await this.fetch("GET", "events", { query: { samples: 1 }, headers, signal });
    yield { id: response.headers.get("X-Pagent-Event-Id"), name: "open", data: null };
    const parser = new EventParser();
    for await (const text of texts(response)) {
      alive();
      for (const event of parser.feed(text)) yield { ...event, data: JSON.parse(event.data) };
    }
  }
}

// Yield the body of an answer as pieces of text.
export async function* texts(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

async function problem(response) {
  const requestId = response.headers.get("X-Request-Id");
  let fields = {};
  try {
    fields = await response.json();
  } catch {
    // An answer of a proxy has no problem details.
  }
  const title = fields.title || response.statusText || `Status ${response.status}`;
  return new ApiError(response.status, title, fields.detail || title, fields.request_id || requestId);
}

function base64url(text) {
  const binary = String.fromCharCode(...new TextEncoder().encode(text));
  return btoa(binary).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}
