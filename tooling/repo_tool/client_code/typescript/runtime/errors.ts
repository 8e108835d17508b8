// SPDX-License-Identifier: Apache-2.0

/** What a failure is about; `undefined` where that does not apply. */
export interface Facts {
  readonly model?: string | undefined;
  readonly version?: string | undefined;
  readonly tensor?: string | undefined;
  readonly expected?: string | undefined;
  readonly received?: string | undefined;
  readonly requestId?: string | undefined;
  readonly serverWords?: string | undefined;
  readonly cause?: unknown;
}

/**
 * Every failure that a client raises on purpose, as one tree whose branches say who is at fault.
 *
 *     RepoClientError
 *     ├── InputError                   you: what was passed or asked
 *     │   ├── UrlError                 an address that is none of http:// https://
 *     │   ├── UnknownTensorError       a name that the model does not have
 *     │   ├── MissingInputError        an input without a value
 *     │   ├── DatatypeError            a value of another data type
 *     │   ├── ShapeError               another rank, or a dimension of another size
 *     │   ├── BatchSizeError           no rows, or not as many for every input
 *     │   ├── NanError                 a NaN where the model was made with `nan: "refuse"`
 *     │   ├── UnsupportedCallError     a call that HTTP cannot carry
 *     │   └── RefusedRequestError      only the server noticed; `serverWords` has its reason
 *     ├── ModelError                   the model
 *     │   ├── ModelNotFoundError       not in the repository, or not loaded
 *     │   ├── SignatureChangedError    it is no longer what this file was generated for
 *     │   └── ExecutionError           it failed while it ran
 *     ├── ServerError                  the server
 *     │   ├── ServerBusyError          a full queue; the same call may work later
 *     │   └── UnexpectedAnswerError    an answer outside the Open Inference Protocol
 *     ├── NetworkError                 the way to the server
 *     │   ├── ServerUnreachableError   nobody listens there
 *     │   ├── ConnectionLostError      it closed in the middle of a call
 *     │   └── TlsError                 no trust: certificates, or a server without TLS
 *     └── DeadlineExceededError        the answer took longer than `timeoutMs`
 */
export class RepoClientError extends Error {
  override name = "RepoClientError";
  readonly hint: string;
  readonly model: string | undefined;
  readonly version: string | undefined;
  readonly tensor: string | undefined;
  readonly expected: string | undefined;
  readonly received: string | undefined;
  readonly requestId: string | undefined;
  readonly serverWords: string | undefined;
  /** How often the call was made before it was given up. */
  attempts = 1;

  constructor(fact: string, hint = "", facts: Facts = {}) {
    super(hint ? `${fact}\nhint: ${hint}` : fact, facts.cause === undefined ? undefined : { cause: facts.cause });
    this.hint = hint;
    this.model = facts.model;
    this.version = facts.version;
    this.tensor = facts.tensor;
    this.expected = facts.expected;
    this.received = facts.received;
    this.requestId = facts.requestId;
    this.serverWords = facts.serverWords;
  }
}

/** What was passed or asked cannot be sent. */
export class InputError extends RepoClientError {
  override name = "InputError";
}

/** The address is none that a client can open. */
export class UrlError extends InputError {
  override name = "UrlError";
}

/** The model has no input or output of that name. */
export class UnknownTensorError extends InputError {
  override name = "UnknownTensorError";
}

/** The model needs an input that was not passed. */
export class MissingInputError extends InputError {
  override name = "MissingInputError";
}

/** The value has another data type than the tensor. */
export class DatatypeError extends InputError {
  override name = "DatatypeError";
}

/** The value has another rank than the tensor, or a dimension of another size. */
export class ShapeError extends InputError {
  override name = "ShapeError";
}

/** No rows at all, or not as many for every input. */
export class BatchSizeError extends InputError {
  override name = "BatchSizeError";
}

/** An input holds a NaN, and the model was made with `nan: "refuse"`. */
export class NanError extends InputError {
  override name = "NanError";
}

/** The model does not take calls of this kind over HTTP. */
export class UnsupportedCallError extends InputError {
  override name = "UnsupportedCallError";
}

/** The server refused a request that looked right from here. */
export class RefusedRequestError extends InputError {
  override name = "RefusedRequestError";
}

/** The model is at fault. */
export class ModelError extends RepoClientError {
  override name = "ModelError";
}

/** The repository has no such model or version, or it is not loaded. */
export class ModelNotFoundError extends ModelError {
  override name = "ModelNotFoundError";
}

/** The served model takes or gives something else than this file was generated for. */
export class SignatureChangedError extends ModelError {
  override name = "SignatureChangedError";
}

/** The model failed while it ran. */
export class ExecutionError extends ModelError {
  override name = "ExecutionError";
}

/** The server is at fault. */
export class ServerError extends RepoClientError {
  override name = "ServerError";
}

/** The model's queue is full. */
export class ServerBusyError extends ServerError {
  override name = "ServerBusyError";
}

/** The answer is outside the Open Inference Protocol. */
export class UnexpectedAnswerError extends ServerError {
  override name = "UnexpectedAnswerError";
}

/** The way to the server is at fault. */
export class NetworkError extends RepoClientError {
  override name = "NetworkError";
}

/** Nobody listens at the address, or a browser may not ask it. */
export class ServerUnreachableError extends NetworkError {
  override name = "ServerUnreachableError";
}

/** The connection closed in the middle of a call. */
export class ConnectionLostError extends NetworkError {
  override name = "ConnectionLostError";
}

/** No trust could be set up with the server. */
export class TlsError extends NetworkError {
  override name = "TlsError";
}

/** The answer took longer than `timeoutMs`. */
export class DeadlineExceededError extends RepoClientError {
  override name = "DeadlineExceededError";
}

type ErrorClass = new (fact: string, hint?: string, facts?: Facts) => RepoClientError;

// Triton's words come first: its status codes say less.
const REFUSALS_BY_WORDS: readonly (readonly [RegExp, ErrorClass])[] = [
  [/unknown model|requested model .* is not available|failed to poll from/, ModelNotFoundError],
  [/Request timeout expired/, DeadlineExceededError],
  [/[Ee]xceeds maximum queue size/, ServerBusyError],
  [/Failed to process the request/, ExecutionError],
];
const REFUSALS_BY_STATUS: Readonly<Record<number, ErrorClass>> = {
  400: RefusedRequestError,
  404: ModelNotFoundError,
  408: DeadlineExceededError,
  413: RefusedRequestError,
  429: ServerBusyError,
  501: UnexpectedAnswerError,
};
const DEADLINE_HINT = "pass a larger timeoutMs, or look at the server's load";
const REFUSAL_HINTS: readonly (readonly [ErrorClass, string])[] = [
  [ModelNotFoundError, "is the model loaded? POST /v2/repository/index lists what is"],
  [DeadlineExceededError, DEADLINE_HINT],
  [ServerBusyError, "try again later, or add instances to the model"],
];

/** The error that a status and the server's words mean. */
function refusal(status: number, words: string, facts: Facts): RepoClientError {
  const byWords = REFUSALS_BY_WORDS.find(([pattern]) => pattern.test(words))?.[1];
  const kind = byWords ?? REFUSALS_BY_STATUS[status] ?? ServerError;
  const hint = REFUSAL_HINTS.find(([each]) => each === kind)?.[1] ?? "";
  const subject = facts.model === undefined ? "" : `model '${facts.model}': `;
  return new kind(`${subject}${words.trim() || `status ${status}`}`, hint, { ...facts, serverWords: words });
}

const NEVER_SENT = /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|ETIMEDOUT|UND_ERR_CONNECT_TIMEOUT)$/;
const NO_TRUST = /CERT|^ERR_SSL|^ERR_TLS|^EPROTO$|UNABLE_TO_VERIFY/;
const LOST = /^(ECONNRESET|EPIPE|UND_ERR_SOCKET)$|^HPE_/;
const TOO_LONG = /^UND_ERR_(HEADERS|BODY)_TIMEOUT$/;

/** What a rejected `fetch` means; Node tells the reason in its cause, browsers tell none. */
function networkFailure(error: unknown, url: string, facts: Facts): RepoClientError {
  const reason = error instanceof Error ? (error.cause ?? error) : error;
  const { code = "", message = String(reason) } = (reason ?? {}) as { code?: string; message?: string };
  const about = { ...facts, cause: error };
  const told = `${message || code}`;
  if (NO_TRUST.test(code)) {
    return new TlsError(`no trust in ${url}: ${told}`, "NODE_EXTRA_CA_CERTS names the authorities for Node", about);
  }
  if (TOO_LONG.test(code)) {
    const hint = "Node's own fetch waits 300 s at most: pass a fetch of your own to Client";
    return new DeadlineExceededError(`${url} answered too slowly: ${told}`, hint, about);
  }
  if (LOST.test(code)) {
    const hint = url.startsWith("https:") ? "does it speak TLS? Triton's own HTTP port does not" : "";
    return new ConnectionLostError(`${url} closed the connection in the middle of a call: ${told}`, hint, about);
  }
  const hint = NEVER_SENT.test(code)
    ? "is the server started, and is this its HTTP port (8000 unless told otherwise)?"
    : "in a browser, also: the page's origin must be allowed (CORS) by what stands in front of the server";
  return new ServerUnreachableError(`cannot reach ${url}: ${told || code}`, hint, about);
}

export { DEADLINE_HINT, networkFailure, refusal };
