// SPDX-License-Identifier: Apache-2.0
import { type CallOptions, onAbort } from "./client.ts";
import { InputError, RepoClientError } from "./errors.ts";

/** The options of `predictMany`; deadlines are those of each row. */
export interface ManyOptions extends CallOptions {
  /** So many calls run at once; the iterable is read no further ahead. */
  readonly maxInFlight?: number | undefined;
  /** Called after each answer with their number. */
  readonly onProgress?: ((answers: number) => void) | undefined;
}

type ManyOf<Row> = Iterable<Row> | AsyncIterable<Row>;

const MANY_IN_FLIGHT = 16;

type Settled<T> = { readonly value: T } | { readonly error: unknown };

/** The answers in order, at most `limit` calls at once; whoever stops reading ends the calls that still run. */
async function* inOrder<I, O>(
  items: ManyOf<I>,
  limit: number,
  user: AbortSignal | undefined,
  call: (item: I, signal: AbortSignal) => Promise<O>,
): AsyncGenerator<Settled<O>> {
  if (!(Number.isInteger(limit) && limit > 0)) {
    throw new InputError(`maxInFlight is ${limit}`, "a whole number, 1 at least");
  }
  const controller = new AbortController();
  const abort = (): void => controller.abort(user?.reason);
  const unwatch = user === undefined ? undefined : onAbort(user, abort);
  const source = Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]();
  const running: Promise<Settled<O>>[] = [];
  let coming: Promise<IteratorResult<I>> | undefined;
  let isEnded = false;
  try {
    while (!isEnded || running.length > 0) {
      if (!isEnded && running.length < limit) {
        coming ??= Promise.resolve(source.next());
        coming.catch(() => undefined);
      }
      const first = running[0];
      // Whichever is there first: a source that waits must not keep back answers that are there.
      const isAnswer = await Promise.race([
        ...(first ? [first.then(() => true)] : []),
        ...(coming ? [coming.then(() => false)] : []),
      ]);
      if (isAnswer && first !== undefined) {
        running.shift();
        yield await first;
        continue;
      }
      const next = await (coming as Promise<IteratorResult<I>>);
      coming = undefined;
      isEnded = next.done === true;
      if (!next.done) {
        running.push(settled(call(next.value, controller.signal)));
      }
    }
  } finally {
    unwatch?.();
    controller.abort();
    if (!isEnded) {
      void Promise.resolve(source.return?.()).catch(() => undefined);
    }
  }
}

async function settled<T>(call: Promise<T>): Promise<Settled<T>> {
  try {
    return { value: await call };
  } catch (error) {
    return { error };
  }
}

function unsettled<T>(answer: Settled<T>): T {
  if ("error" in answer) {
    throw answer.error;
  }
  return answer.value;
}

/** @internal The answers of many calls. */
async function* manyOf<Row, Result>(
  rows: ManyOf<Row>,
  options: ManyOptions & { readonly errors?: "throw" | "return" | undefined },
  call: (row: Row, options: CallOptions) => Promise<Result>,
): AsyncGenerator<Result | RepoClientError> {
  const run = (row: Row, signal: AbortSignal): Promise<Result> => call(row, { ...options, signal });
  let answers = 0;
  for await (const answer of inOrder(rows, options.maxInFlight ?? MANY_IN_FLIGHT, options.signal, run)) {
    options.onProgress?.(++answers);
    const isReturned = "error" in answer && options.errors === "return" && answer.error instanceof RepoClientError;
    yield isReturned ? (answer.error as RepoClientError) : unsettled(answer);
  }
}

export { inOrder, type ManyOf, manyOf, unsettled };
