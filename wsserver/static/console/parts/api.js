/** Requests to the REST API, authenticated by the sign-in's cookie; a lost sign-in is renewed. */

export const BASE = "/api/v1/websocket";
const TIMEOUT_MS = 20_000;
const MAX_ROWS = 20_000;
const PAGE_ROWS = 1000;

/** An error that the server answered, or the lack of an answer (`status` 0). */
export class ApiError extends Error {
  constructor(status, problem) {
    super(problem.detail ?? problem.title ?? `HTTP ${status}`);
    this.name = "ApiError";
    this.status = status;
    this.code = problem.code ?? "";
    this.errors = problem.errors ?? [];
    this.requestId = problem.request_id ?? "";
    this.body = problem;
  }
}

let signInAgain = null;

/** What to do where the sign-in has ended: a function that resolves once there is another one. */
export function onSignedOut(handler) {
  signInAgain = handler;
}

/**
 * Send a request, and return the JSON of its answer.
 *
 * @param {string} method
 * @param {string} path below the API's prefix; ids in it by `id()`
 * @param {{query?: object, body?: any, key?: string, signal?: AbortSignal, isSignIn?: boolean}}
 *   [options] `key`: the header Idempotency-Key
 */
export async function request(
  method,
  path,
  { query = {}, body, key, signal, isSignIn = false } = {},
) {
  for (;;) {
    const response = await send(method, BASE + path + queryOf(query), body, signal, key);
    if (response.ok) return read(response);
    const error = new ApiError(response.status, await problemOf(response));
    if (response.status !== 401 || isSignIn || signInAgain === null) throw error;
    await signInAgain(error); // also rejects where the user does not want to
  }
}

export const get = (path, query, signal) => request("GET", path, { query, signal });

/** `key`: the same one within a day is one request, however often it is sent. */
export const post = (path, body, { key } = {}) => request("POST", path, { body, key });

/** All rows of a list, page by page, at most 20,000; `onRows(rows, total)` is called after each page. */
export async function loadAll(path, name, query, signal, onRows) {
  const rows = [];
  let cursor = null;
  let total = 0;
  const unreachable = new Set();
  do {
    const page = await get(path, { ...query, limit: PAGE_ROWS, cursor }, signal);
    for (const row of page[name]) rows.push(row);
    for (const node of page.unreachable ?? []) unreachable.add(node);
    ({ total, next_cursor: cursor } = page);
    onRows?.(rows, total);
  } while (cursor && rows.length < MAX_ROWS);
  return { rows, total, isCut: Boolean(cursor), unreachable: [...unreachable] };
}

/** An id as a segment of a path. */
export const id = encodeURIComponent;

async function send(method, url, body, signal, key) {
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  const headers = { "X-Wsserver-Console": "1" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (key) headers["Idempotency-Key"] = key;
  try {
    return await fetch(url, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
      credentials: "same-origin",
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, { code: "unreachable", detail: String(error.message ?? error) });
  }
}

async function read(response) {
  try {
    return await response.json();
  } catch (error) {
    throw new ApiError(0, { code: "unreachable", detail: String(error.message ?? error) });
  }
}

async function problemOf(response) {
  try {
    return (await response.json()) ?? {};
  } catch {
    return {}; // a page of a proxy
  }
}

function queryOf(query) {
  const given = Object.entries(query).filter(
    ([, value]) => value !== null && value !== undefined && value !== "",
  );
  return given.length ? `?${new URLSearchParams(given)}` : "";
}
