// SPDX-License-Identifier: Apache-2.0
import {
  ConnectionLostError,
  DEADLINE_HINT,
  DeadlineExceededError,
  type Facts,
  InputError,
  networkFailure,
  RepoClientError,
  ServerBusyError,
  ServerUnreachableError,
  UrlError,
} from "./errors.ts";
import { HEADER_LENGTH, type Reply } from "./wire.ts";

/**
 * Which failed calls are tried again: those that were never sent, that found a full queue, or that lost their
 * connection and belong to no sequence; within their deadline.
 */
export interface Retries {
  /** In all; 1: none is repeated. */
  readonly attempts: number;
  /** The wait before attempt n is random, up to this doubled n times. */
  readonly firstWaitMs: number;
  readonly longestWaitMs: number;
  /** Over time, so many retries for each call that succeeds. */
  readonly budget: number;
}

/** How a client connects; the defaults are right for most. */
export interface ClientOptions {
  /** Sent with every call. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** Sent as `authorization: Bearer <token>`; a function is asked before each call, so that it can renew it. */
  readonly token?: string | (() => string | Promise<string>) | undefined;
  /** The deadline of a call that sets none, its retries included. */
  readonly timeoutMs?: number | undefined;
  readonly retries?: Partial<Retries> | undefined;
  /** Of requests and answers; costs more than it saves on a fast network. */
  readonly compression?: "gzip" | "deflate" | undefined;
  /** Used instead of the global `fetch`, e.g. for a proxy or a certificate of one's own under Node. */
  readonly fetch?: typeof fetch | undefined;
}

/** The options of one call. */
export interface CallOptions {
  /** The deadline; the server hears of it too. */
  readonly timeoutMs?: number | undefined;
  /** Ends the call when it is aborted, with its reason. */
  readonly signal?: AbortSignal | undefined;
  /** Found in the server's log. */
  readonly requestId?: string | undefined;
  /** Of the model's `priority_levels`, 1 the highest. */
  readonly priority?: number | undefined;
  /** A model's own request parameters. */
  readonly parameters?: Readonly<Record<string, string | number | boolean>> | undefined;
  /** Sent with this call, over those of the client. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
}

/** What one exchange sends. */
interface Sent {
  readonly method: "GET" | "POST";
  readonly path: string;
  readonly body?: ArrayBuffer | string;
  readonly headers?: Readonly<Record<string, string>> | undefined;
}

const DEFAULT_TIMEOUT_MS = 60_000;
const LONGEST_TIMER_MS = 2 ** 31 - 1;
const DEFAULT_RETRIES: Retries = { attempts: 3, firstWaitMs: 50, longestWaitMs: 2000, budget: 0.1 };
// So many retries are there before the first success has earned any.
const FIRST_TOKENS = 10;
const LOOPBACK = /^(localhost|.+\.localhost|127(\.\d+){3}|\[::1\])$/;

const WATCHED = new WeakMap<AbortSignal, Set<() => void>>();

/** Call back when `signal` is aborted, until the returned function is called; of many calls it has one listener. */
function onAbort(signal: AbortSignal, callback: () => void): () => void {
  const known = WATCHED.get(signal);
  const callbacks = known ?? new Set();
  if (known === undefined) {
    WATCHED.set(signal, callbacks);
    signal.addEventListener("abort", () => [...callbacks].forEach((each) => each()), { once: true });
  }
  callbacks.add(callback);
  return () => void callbacks.delete(callback);
}

/** The time that one call may take, and its user's wish to end it sooner. */
class Deadline {
  readonly #ends: number;
  readonly #controller = new AbortController();
  readonly #timer: ReturnType<typeof setTimeout>;
  readonly #unwatch: () => void;

  constructor(timeoutMs: number, user: AbortSignal | undefined, facts: Facts) {
    if (!(timeoutMs > 0)) {
      throw new InputError(`timeoutMs is ${timeoutMs}`, "milliseconds, more than 0");
    }
    const about = facts.model === undefined ? "" : `model '${facts.model}': `;
    const late = (): DeadlineExceededError =>
      new DeadlineExceededError(`${about}no answer within ${Math.round(timeoutMs)} ms`, DEADLINE_HINT, facts);
    this.#ends = performance.now() + timeoutMs;
    this.#timer = setTimeout(() => this.#controller.abort(late()), Math.min(timeoutMs, LONGEST_TIMER_MS));
    const abort = (): void => this.#controller.abort(user?.reason);
    this.#unwatch = user === undefined ? () => undefined : onAbort(user, abort);
    if (user?.aborted) {
      abort();
    }
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  get remainingMs(): number {
    return Math.max(1, this.#ends - performance.now());
  }

  /** For calls within this one: a little more than is left, so that this deadline is the one that ends and is told. */
  get innerMs(): number {
    return this.remainingMs + 5;
  }

  /** Throw what ended the call, where it was this deadline or its user. */
  check(): void {
    if (this.signal.aborted) {
      throw this.signal.reason;
    }
  }

  /** Wait, but not longer than the call lasts. */
  async wait(ms: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.signal.removeEventListener("abort", done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      this.signal.addEventListener("abort", done);
    });
    this.check();
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#unwatch();
  }
}

/** One server. It holds no connection of its own (`fetch` does), so there is nothing to close. */
export class Client {
  /** The address, without a slash at its end. */
  readonly url: string;
  readonly #options: ClientOptions;
  readonly #retries: Retries;
  #tokens = FIRST_TOKENS;

  /**
   * @param url `http://` or `https://`, with the path of a proxy if there is one; in a browser also a path of the
   *   page's own origin
   */
  constructor(url: string | URL, options: ClientOptions = {}) {
    const parsed = parseUrl(url);
    if (options.token !== undefined && parsed.protocol === "http:" && !LOOPBACK.test(parsed.hostname)) {
      throw new UrlError(`a token would travel in the clear to ${parsed.host}`, "use https://");
    }
    this.url = parsed.href.replace(/\/+$/, "");
    this.#options = options;
    this.#retries = { ...DEFAULT_RETRIES, ...options.retries };
  }

  /** Whether the server answers and all its models are ready. */
  async isReady(options: CallOptions = {}): Promise<boolean> {
    const sent: Sent = { method: "GET", path: "/v2/health/ready", headers: options.headers };
    try {
      return await this.within(options, {}, async (deadline) => (await this.send(sent, deadline, {})).status === 200);
    } catch (error) {
      if (error instanceof ServerUnreachableError || error instanceof ConnectionLostError) {
        return false;
      }
      throw error;
    }
  }

  /** Wait until `isReady`; `DeadlineExceededError` when that takes longer than `timeoutMs`. */
  async waitUntilReady(options: CallOptions = {}): Promise<void> {
    await this.within(options, {}, async (deadline) => {
      while (!(await this.isReady({ ...options, timeoutMs: deadline.innerMs, signal: deadline.signal }))) {
        await deadline.wait(50);
      }
    });
  }

  /** @internal The deadline of one call; whoever asks for it ends it. */
  deadline(options: CallOptions, facts: Facts): Deadline {
    const timeoutMs = options.timeoutMs ?? this.#options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    return new Deadline(timeoutMs, options.signal, facts);
  }

  /** @internal Run `call` under a deadline. */
  async within<T>(options: CallOptions, facts: Facts, call: (deadline: Deadline) => Promise<T>): Promise<T> {
    const deadline = this.deadline(options, facts);
    try {
      deadline.check();
      return await call(deadline);
    } finally {
      deadline.end();
    }
  }

  /** @internal Make `call` again while its failures are safe to repeat, time is left, and the budget allows it. */
  async retrying<T>(deadline: Deadline, call: () => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        const result = await call();
        this.#tokens = Math.min(this.#tokens + this.#retries.budget, FIRST_TOKENS);
        return result;
      } catch (error) {
        const waitMs = this.#waitBefore(error, attempt);
        if (waitMs === undefined || waitMs >= deadline.remainingMs) {
          throw numbered(error, attempt);
        }
        this.#tokens -= 1;
        await deadline.wait(waitMs);
      }
    }
  }

  #waitBefore(error: unknown, attempt: number): number | undefined {
    const { attempts, firstWaitMs, longestWaitMs } = this.#retries;
    const isSafe = [ServerUnreachableError, ConnectionLostError, ServerBusyError].some((kind) => error instanceof kind);
    return isSafe && attempt < attempts && this.#tokens >= 1
      ? Math.random() * Math.min(firstWaitMs * 2 ** attempt, longestWaitMs)
      : undefined;
  }

  /** @internal One exchange; every failure of `fetch` is one of ours. */
  async send(sent: Sent, deadline: Deadline, facts: Facts): Promise<Reply> {
    return await this.#translating(deadline, facts, async () => {
      const response = await this.fetch(sent, deadline);
      const body = await response.arrayBuffer();
      return { status: response.status, headerLength: response.headers.get(HEADER_LENGTH), body };
    });
  }

  /** @internal An answer whose body comes bit by bit. */
  async *stream(sent: Sent, deadline: Deadline, facts: Facts): AsyncGenerator<Reply | string> {
    const response = await this.#translating(deadline, facts, () => this.fetch(sent, deadline));
    if (response.status !== 200 || response.body === null) {
      yield { status: response.status, headerLength: null, body: await response.arrayBuffer() };
      return;
    }
    const reader = response.body.getReader();
    const text = new TextDecoder();
    try {
      for (;;) {
        const { done, value } = await this.#translating(deadline, facts, () => reader.read());
        if (done) {
          return;
        }
        yield text.decode(value, { stream: true });
      }
    } finally {
      reader.cancel().catch(() => undefined);
    }
  }

  async #translating<T>(deadline: Deadline, facts: Facts, call: () => Promise<T>): Promise<T> {
    try {
      return await call();
    } catch (error) {
      deadline.check();
      throw error instanceof RepoClientError ? error : networkFailure(error, this.url, facts);
    }
  }

  /** @internal */
  async fetch(sent: Sent, deadline: Deadline): Promise<Response> {
    const { compression, token, fetch: ask = globalThis.fetch } = this.#options;
    const headers: Record<string, string> = {
      "Accept-Encoding": compression ?? "identity",
      ...this.#options.headers,
      ...sent.headers,
    };
    if (token !== undefined) {
      headers["Authorization"] = `Bearer ${typeof token === "function" ? await token() : token}`;
    }
    const request: RequestInit = { method: sent.method, headers, signal: deadline.signal, redirect: "error" };
    if (sent.body !== undefined) {
      request.body = compression === undefined ? sent.body : await compressed(sent.body, compression);
      Object.assign(headers, compression === undefined ? {} : { "Content-Encoding": compression });
    }
    return await ask(`${this.url}${sent.path}`, request);
  }
}

function parseUrl(url: string | URL): URL {
  const { location } = globalThis as { location?: { href: string } };
  let parsed: URL;
  try {
    parsed = new URL(url, location?.href);
  } catch {
    // What is no address may hold a password all the same.
    throw new UrlError(`'${String(url).replace(/.*@/s, "")}' is no address`, "e.g. http://localhost:8000");
  }
  if (parsed.protocol !== "http:" && parsed.protocol !== "https:") {
    throw new UrlError(`'${parsed.protocol}//' is no protocol of this client`, "use http:// or https://");
  }
  requireAddress(parsed);
  return parsed;
}

/** Refuse what no request may carry; the error says nothing that may be secret. */
function requireAddress({ origin, pathname, username, password, search, hash }: URL): void {
  const address = `${origin}${pathname}`;
  if (username || password) {
    throw new UrlError(`the address ${address} comes with a user or password`, "pass headers: { authorization: ... }");
  }
  if (search || hash) {
    throw new UrlError(`the address ${address} comes with a query or a fragment`, "pass the address without them");
  }
}

async function compressed(body: ArrayBuffer | string, format: "gzip" | "deflate"): Promise<ArrayBuffer> {
  return await new Response(new Blob([body]).stream().pipeThrough(new CompressionStream(format))).arrayBuffer();
}

function numbered(error: unknown, attempts: number): unknown {
  if (error instanceof RepoClientError && attempts > 1) {
    error.attempts = attempts;
    error.message = `${error.message}\n${attempts} attempts were made`;
  }
  return error;
}

export { type Deadline, onAbort, type Sent };
