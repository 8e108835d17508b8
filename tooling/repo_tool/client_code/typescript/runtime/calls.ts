// SPDX-License-Identifier: Apache-2.0
import { type CallOptions, type Client, type Deadline, onAbort, type Sent } from "./client.ts";
import {
  BatchSizeError,
  type Facts,
  InputError,
  MissingInputError,
  NanError,
  RefusedRequestError,
  RepoClientError,
  SignatureChangedError,
  UnexpectedAnswerError,
  UnknownTensorError,
  UnsupportedCallError,
  refusal,
} from "./errors.ts";
import {
  type BytesReader,
  type Checked,
  checked,
  decode,
  encode,
  type FlatArray,
  holdsNan,
  packed,
  readText,
  Tensor,
  type TensorSpec,
} from "./values.ts";
import { type CallParameters, fromReply, modelPath, type Output, readJson, type Reply, toBody } from "./wire.ts";

/** A model as this file was generated for it. */
export interface ModelSpec {
  readonly name: string;
  /** 0: the model does not batch. */
  readonly maxBatchSize: number;
  readonly inputs: readonly TensorSpec[];
  readonly outputs: readonly TensorSpec[];
  readonly isDecoupled?: boolean;
  /** Of all that a client depends on. */
  readonly digest: string;
}

/** How a model is called. */
export interface ModelOptions {
  /** Without it the server's choice: the newest that is loaded. */
  readonly version?: number | string | undefined;
  /** Whether an input may hold NaN; it may unless told otherwise. */
  readonly nan?: "allow" | "refuse" | undefined;
}

/** How a model with elements of type BYTES is called. */
export interface BytesOptions<B> extends ModelOptions {
  /** Reads one element; without it as UTF-8 text. `{ bytes: (raw) => raw }` keeps the bytes. */
  readonly bytes?: BytesReader<B> | undefined;
}

/** The options of `predictMany`; deadlines are those of each row. */
export interface ManyOptions extends CallOptions {
  /** So many calls run at once; the iterable is read no further ahead. */
  readonly maxInFlight?: number | undefined;
  /** Called after each answer with their number. */
  readonly onProgress?: ((answers: number) => void) | undefined;
}

type ManyOf<Row> = Iterable<Row> | AsyncIterable<Row>;
type Named = Readonly<Record<string, unknown>>;
type Outputs = ReadonlyMap<string, Output>;

const MANY_IN_FLIGHT = 16;
const PARTS_IN_FLIGHT = 4;

/** What all generated models share: the check of the signature, and one request. */
export class ServedModel {
  readonly spec: ModelSpec;
  readonly client: Client;
  readonly version: string | undefined;
  readonly #readBytes: BytesReader<unknown>;
  readonly #refusesNan: boolean;
  #isChecked = false;
  #largestBatch: number;

  constructor(client: Client, spec: ModelSpec, options: BytesOptions<unknown> = {}) {
    this.client = client;
    this.spec = spec;
    this.version = options.version === undefined ? undefined : String(options.version);
    this.#readBytes = options.bytes ?? readText;
    this.#refusesNan = options.nan === "refuse";
    this.#largestBatch = spec.maxBatchSize;
    if (this.version !== undefined && !/^[1-9][0-9]*$/.test(this.version)) {
      throw new InputError(`version is '${this.version}'`, "versions are whole numbers from 1: 1, 2, 3 ...");
    }
  }

  /**
   * Compare the served model with this file; the first call does so by itself.
   *
   * Throws `SignatureChangedError`, which lists what has changed, where calls made for this file would fail. More
   * inputs that are optional, more outputs and another `max_batch_size` are fine.
   */
  async checkSignature(options: CallOptions = {}): Promise<void> {
    await this.client.within(options, this.facts(options), (deadline) => this.#compare(deadline, options));
  }

  /** @internal */
  facts(options: CallOptions): Facts {
    return { model: this.spec.name, version: this.version, requestId: options.requestId };
  }

  /** @internal One request, whose answer is held against the specification. */
  async infer(inputs: readonly Checked[], options: CallOptions, sequence?: CallParameters): Promise<Outputs> {
    const facts = this.facts(options);
    return await this.client.within(options, facts, async (deadline) => {
      await this.ensureChecked(deadline, options);
      const once = async (): Promise<Outputs> => {
        const sent = this.#request(inputs, options, deadline, sequence);
        return this.#expected(fromReply(await this.client.send(sent, deadline, facts), facts), facts);
      };
      const call = sequence === undefined ? () => this.client.retrying(deadline, once) : once;
      return await this.explaining(deadline, options, call);
    });
  }

  #request(inputs: readonly Checked[], options: CallOptions, deadline: Deadline, sequence?: CallParameters): Sent {
    const parameters = { ...options.parameters, ...sequence, ...timing(options, deadline) };
    const { body, headers } = toBody(inputs, options.requestId ?? "", parameters);
    const path = modelPath(this.spec.name, this.version, "/infer");
    return { method: "POST", path, body, headers: { ...options.headers, ...headers } };
  }

  /** @internal */
  async ensureChecked(deadline: Deadline, options: CallOptions): Promise<void> {
    if (!this.#isChecked) {
      await this.#compare(deadline, options);
    }
  }

  /** @internal A request that the server refuses, although it was checked here: perhaps the model is another now. */
  async explaining<T>(deadline: Deadline, options: CallOptions, call: () => Promise<T>): Promise<T> {
    try {
      return await call();
    } catch (error) {
      if (error instanceof RefusedRequestError) {
        await this.#compare(deadline, options);
      }
      throw error;
    }
  }

  async #compare(deadline: Deadline, options: CallOptions): Promise<void> {
    const facts = this.facts(options);
    const read = async (rest: string): Promise<unknown> => {
      const sent: Sent = {
        method: "GET",
        path: modelPath(this.spec.name, this.version, rest),
        headers: options.headers,
      };
      return await this.client.retrying(deadline, async () =>
        readJson(await this.client.send(sent, deadline, facts), facts),
      );
    };
    // A proxy may give out metadata and keep the configuration to itself; the metadata says the most.
    const secondary = read("/config").catch(() => ({}));
    const [metadata, config] = await Promise.all([read(""), secondary]);
    const changes = changesBetween(this.spec, metadata as Metadata, config as Configuration);
    if (changes.length > 0) {
      throw new SignatureChangedError(
        `model '${this.spec.name}' is not what this client was generated for:\n  ${changes.join("\n  ")}`,
        "generate the client anew, with repo-tool client generate",
        facts,
      );
    }
    this.#largestBatch = (config as Configuration).max_batch_size ?? this.spec.maxBatchSize;
    this.#isChecked = true;
  }

  /** @internal The most rows of one request, as the server says; as this file says before it was asked. */
  get largestBatch(): number {
    return this.#largestBatch;
  }

  #expected(outputs: Outputs, facts: Facts): Outputs {
    for (const { name, datatype } of this.spec.outputs) {
      const found = outputs.get(name);
      if (found?.datatype !== datatype) {
        const received = found?.datatype ?? "nothing";
        const fact = `model '${this.spec.name}', output '${name}': received ${received}, expected ${datatype}`;
        throw new UnexpectedAnswerError(fact, "", { ...facts, tensor: name, expected: datatype, received });
      }
    }
    return outputs;
  }

  /** @internal The inputs of one row, or of a whole call where the model does not batch. */
  single(values: object): readonly Checked[] {
    const checkedInputs = this.#each(values, (value, spec) =>
      checked(inColumns(value, spec, this.spec.name), spec, spec.dims, this.spec.name),
    );
    return this.spec.maxBatchSize > 0
      ? checkedInputs.map((input) => ({ ...input, shape: [1, ...input.shape] }))
      : checkedInputs;
  }

  /** @internal The inputs of a batch, all of the same number of rows. */
  batch(values: object): readonly Checked[] {
    const inputs = this.#each(values, (value, spec) => {
      if (Array.isArray(value) && value.length === 0) {
        throw this.#unevenRows("none");
      }
      const rows = Array.isArray(value) ? value.map((each: unknown) => inColumns(each, spec, this.spec.name)) : value;
      const isFlat = isSingle(spec) && Array.isArray(rows) && !rows.some(Array.isArray);
      const shaped = isFlat ? rows.map((each: unknown) => [each]) : rows;
      return checked(shaped, spec, [-1, ...spec.dims], this.spec.name);
    });
    if (inputs.some((input) => input.shape[0] !== inputs[0]?.shape[0] || input.shape[0] === 0)) {
      throw this.#unevenRows(inputs.map((input) => `${input.shape[0] ?? 0} for '${input.spec.name}'`).join(", "));
    }
    return inputs;
  }

  #unevenRows(received: string): BatchSizeError {
    const expected = "as many rows for every input, and one at least";
    const facts = { model: this.spec.name, expected, received };
    return new BatchSizeError(`model '${this.spec.name}': received rows: ${received}`, expected, facts);
  }

  #each(values: object, check: (value: unknown, spec: TensorSpec) => Checked): readonly Checked[] {
    const given = values as Named;
    const { name: model, inputs } = this.spec;
    const known = inputs.map((spec) => spec.property);
    const unknown = Object.keys(given).find((property) => !known.includes(property));
    if (unknown !== undefined) {
      const facts = { model, tensor: unknown, expected: known.join(", ") };
      throw new UnknownTensorError(`model '${model}' has no input '${unknown}'`, nearest(unknown, known), facts);
    }
    const missing = inputs.find((spec) => given[spec.property] === undefined && !spec.optional);
    if (missing !== undefined) {
      const facts = { model, tensor: missing.name, expected: known.join(", ") };
      throw new MissingInputError(`model '${model}': no value for input '${missing.property}'`, "", facts);
    }
    const present = inputs.filter((spec) => given[spec.property] !== undefined);
    const checkedInputs = present.map((spec) => check(given[spec.property], spec));
    const withNan = this.#refusesNan ? checkedInputs.find(holdsNan)?.spec.name : undefined;
    if (withNan !== undefined) {
      throw new NanError(`model '${model}', input '${withNan}' holds NaN`, "", { model, tensor: withNan });
    }
    return checkedInputs;
  }

  /** @internal The answer of one row, or of a whole call where the model does not batch. */
  result(outputs: Outputs): object {
    return this.#results(outputs, "", (spec, data, shape) => {
      const own = this.spec.maxBatchSize > 0 ? shape.slice(1) : shape;
      const value = spec.datatype === "BOOL" ? Boolean(data[0]) : data[0];
      return { value: isSingle(spec) ? value : shaped(data, own), likeliest: (words) => words[peak(data, 0)] };
    });
  }

  /** @internal The answers of a batch. */
  batchResult(outputs: Outputs): object {
    return this.#results(outputs, "s", (spec, data, shape) => {
      const rows = shape[0] ?? 0;
      const size = data.length / Math.max(rows, 1);
      const likeliest = (words: readonly string[]): unknown =>
        Array.from({ length: rows }, (_, row) => words[peak(data.slice(row * size, (row + 1) * size), 0)]);
      return { value: isSingle(spec) ? data : shaped(data, shape), likeliest };
    });
  }

  #results(
    outputs: Outputs,
    plural: "" | "s",
    read: (spec: TensorSpec, data: FlatArray, shape: readonly number[]) => Read,
  ): object {
    const results: Record<string, unknown> = {};
    for (const spec of this.spec.outputs) {
      const { data, shape } = outputs.get(spec.name) as Output;
      const { value, likeliest } = read(spec, this.#elements(spec, data), shape);
      results[spec.property] = value;
      if (spec.classes !== undefined) {
        results[`${spec.classes.property}${plural}`] = likeliest(spec.classes.words);
      }
    }
    return Object.freeze(results);
  }

  #elements(spec: TensorSpec, data: FlatArray): FlatArray {
    if (spec.datatype !== "BYTES") {
      return data;
    }
    const { words } = spec;
    const read = words !== undefined || spec.isText === true ? readText : this.#readBytes;
    const elements = (data as readonly Uint8Array[]).map(read);
    const strange = words && elements.find((element) => !words.includes(element as string));
    if (strange !== undefined) {
      const fact = `model '${this.spec.name}', output '${spec.name}': '${String(strange)}' is none of its words`;
      const hint = "generate the client anew, with repo-tool client generate";
      throw new SignatureChangedError(fact, hint, { model: this.spec.name, tensor: spec.name });
    }
    return elements;
  }
}

interface Read {
  readonly value: unknown;
  readonly likeliest: (words: readonly string[]) => unknown;
}

function timing(options: CallOptions, deadline: Deadline): CallParameters {
  const timeout = Math.floor(Math.min(deadline.remainingMs * 1000, Number.MAX_SAFE_INTEGER));
  return options.priority === undefined ? { timeout } : { timeout, priority: options.priority };
}

function isSingle(spec: TensorSpec): boolean {
  return spec.dims.length === 0 || (spec.dims.length === 1 && spec.dims[0] === 1);
}

function shaped(data: FlatArray, shape: readonly number[]): unknown {
  return shape.length === 1 ? data : new Tensor(data, shape);
}

/** Where the largest value is, the first of equals. */
function peak(data: FlatArray, start: number): number {
  let best = start;
  for (let index = start + 1; index < data.length; index++) {
    best = (data[index] as number) > (data[best] as number) ? index : best;
  }
  return best;
}

/** A row told by the names of its columns, in their order; anything else as it is. */
function inColumns(value: unknown, spec: TensorSpec, model: string): unknown {
  const { columns } = spec;
  const isPlain = Object.getPrototypeOf(value ?? 0) === Object.prototype;
  if (columns === undefined || !isPlain) {
    return value;
  }
  const given = value as Named;
  const facts = { model, tensor: spec.name, expected: columns.join(", "), received: Object.keys(given).join(", ") };
  const unknown = Object.keys(given).find((name) => !columns.includes(name));
  if (unknown !== undefined) {
    const fact = `model '${model}', input '${spec.name}' has no column '${unknown}'`;
    throw new UnknownTensorError(fact, nearest(unknown, columns), facts);
  }
  const missing = columns.find((name) => given[name] === undefined);
  if (missing !== undefined) {
    throw new MissingInputError(`model '${model}', input '${spec.name}': no value for column '${missing}'`, "", facts);
  }
  return columns.map((name) => given[name]);
}

function nearest(name: string, known: readonly string[]): string {
  const ranked = known.map((each) => ({ each, distance: editDistance(name, each) }));
  const best = ranked.sort((one, other) => one.distance - other.distance)[0];
  return best !== undefined && best.distance <= Math.max(2, name.length / 3)
    ? `did you mean '${best.each}'?`
    : `there are ${known.map((each) => `'${each}'`).join(", ")}`;
}

function editDistance(one: string, other: string): number {
  let row = Array.from({ length: other.length + 1 }, (_, index) => index);
  for (let index = 1; index <= one.length; index++) {
    const next = [index];
    for (let at = 1; at <= other.length; at++) {
      const kept = (row[at - 1] ?? 0) + (one[index - 1] === other[at - 1] ? 0 : 1);
      next.push(Math.min(kept, (row[at] ?? 0) + 1, (next[at - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[other.length] ?? 0;
}

interface MetadataTensor {
  readonly name: string;
  readonly datatype: string;
  readonly shape: readonly number[];
}

interface Metadata {
  readonly inputs?: readonly MetadataTensor[];
  readonly outputs?: readonly MetadataTensor[];
}

interface Configuration {
  readonly max_batch_size?: number;
  readonly input?: readonly { readonly name: string; readonly optional?: boolean }[];
  readonly model_transaction_policy?: { readonly decoupled?: boolean };
}

/** What has changed so that calls made for `spec` would fail, in words. */
function changesBetween(spec: ModelSpec, metadata: Metadata, config: Configuration): readonly string[] {
  const served = metadata.inputs ?? [];
  const optional = new Set((config.input ?? []).filter((each) => each.optional).map((each) => each.name));
  const known = new Set(spec.inputs.map((input) => input.name));
  const added = served.filter((input) => !known.has(input.name) && !optional.has(input.name));
  return [
    ...mannerChanges(spec, config),
    ...spec.inputs.flatMap((input) => tensorChanges(spec, "input", input, served)),
    ...added.map((input) => `input '${input.name}' is new, and not optional`),
    ...spec.outputs.flatMap((output) => tensorChanges(spec, "output", output, metadata.outputs ?? [])),
  ];
}

function mannerChanges(spec: ModelSpec, config: Configuration): readonly string[] {
  const size = config.max_batch_size;
  if (size === undefined) {
    return [];
  }
  const isDecoupled = config.model_transaction_policy?.decoupled ?? false;
  const changed = isDecoupled !== (spec.isDecoupled ?? false);
  return [
    ...(size > 0 === spec.maxBatchSize > 0 ? [] : [`it ${size > 0 ? "batches now" : "no longer batches"}`]),
    ...(changed ? [`it is ${isDecoupled ? "now" : "no longer"} decoupled`] : []),
  ];
}

function tensorChanges(
  spec: ModelSpec,
  side: "input" | "output",
  tensor: TensorSpec,
  served: readonly MetadataTensor[],
): readonly string[] {
  const now = served.find((each) => each.name === tensor.name);
  if (now === undefined) {
    return [`${side} '${tensor.name}' is gone`];
  }
  const shape = spec.maxBatchSize > 0 ? [-1, ...tensor.dims] : tensor.dims;
  // An input may become more general, an output more particular.
  const [general, particular] = side === "input" ? [now.shape, shape] : [shape, now.shape];
  const fits =
    general.length === particular.length && general.every((size, axis) => size === -1 || size === particular[axis]);
  return [
    ...(now.datatype === tensor.datatype
      ? []
      : [`${side} '${tensor.name}' was ${tensor.datatype}, is ${now.datatype}`]),
    ...(fits ? [] : [`${side} '${tensor.name}' was [${shape.join(", ")}], is [${now.shape.join(", ")}]`]),
  ];
}

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

/** A model that takes rows: `Row` is one, `Batch` many with the batch dimension first. */
export class BatchingModel<Row extends object, Result, Batch extends object, BatchResult> extends ServedModel {
  /** The answer for one row. */
  async predict(row: Row, options: CallOptions = {}): Promise<Result> {
    return this.result(await this.infer(this.single(row), options)) as Result;
  }

  /**
   * The answers for any number of rows, the batch dimension first in what goes in and comes out. More rows than the
   * model's `max_batch_size` are sent in parts, under one deadline.
   */
  async predictBatch(batch: Batch, options: CallOptions = {}): Promise<BatchResult> {
    const inputs = this.batch(batch);
    const outputs = await this.client.within(options, this.facts(options), async (deadline) => {
      await this.ensureChecked(deadline, options);
      const parts = partsOf(inputs, this.largestBatch);
      const run = (part: readonly Checked[], signal: AbortSignal): Promise<Outputs> =>
        this.infer(part, { ...options, signal, timeoutMs: deadline.remainingMs });
      const answers: Outputs[] = [];
      for await (const answer of inOrder(parts, PARTS_IN_FLIGHT, deadline.signal, run)) {
        answers.push(unsettled(answer));
      }
      return answers;
    });
    return this.batchResult(joinedOutputs(outputs, this.spec)) as BatchResult;
  }

  /**
   * The answers for an endless number of rows, in order: each its own request, several at once. With
   * `errors: "return"` the failure of a row stands in the place of its answer, and the others go on.
   */
  predictMany(
    rows: ManyOf<Row>,
    options?: ManyOptions & { readonly errors?: "throw" | undefined },
  ): AsyncGenerator<Result>;
  predictMany(
    rows: ManyOf<Row>,
    options: ManyOptions & { readonly errors: "return" },
  ): AsyncGenerator<Result | RepoClientError>;
  predictMany(
    rows: ManyOf<Row>,
    options: ManyOptions & { readonly errors?: "throw" | "return" | undefined } = {},
  ): AsyncGenerator<Result | RepoClientError> {
    return manyOf(rows, options, (row, each) => this.predict(row, each));
  }
}

/** A model that takes its tensors whole. */
export class WholeModel<Input extends object, Result> extends ServedModel {
  /** The answer for whole tensors. */
  async predict(input: Input, options: CallOptions = {}): Promise<Result> {
    return this.result(await this.infer(this.single(input), options)) as Result;
  }

  /** The answers for several calls, in order; `timeoutMs` is that of each. */
  async predictBatch(inputs: readonly Input[], options: CallOptions = {}): Promise<readonly Result[]> {
    const answers: Result[] = [];
    for await (const answer of this.predictMany(inputs, { ...options, maxInFlight: PARTS_IN_FLIGHT })) {
      answers.push(answer);
    }
    return answers;
  }

  /**
   * The answers for an endless number of calls, in order, several at once. With `errors: "return"` the failure of a
   * call stands in the place of its answer, and the others go on.
   */
  predictMany(
    inputs: ManyOf<Input>,
    options?: ManyOptions & { readonly errors?: "throw" | undefined },
  ): AsyncGenerator<Result>;
  predictMany(
    inputs: ManyOf<Input>,
    options: ManyOptions & { readonly errors: "return" },
  ): AsyncGenerator<Result | RepoClientError>;
  predictMany(
    inputs: ManyOf<Input>,
    options: ManyOptions & { readonly errors?: "throw" | "return" | undefined } = {},
  ): AsyncGenerator<Result | RepoClientError> {
    return manyOf(inputs, options, (input, each) => this.predict(input, each));
  }
}

function partsOf(inputs: readonly Checked[], size: number): readonly (readonly Checked[])[] {
  const rows = inputs[0]?.shape[0] ?? 0;
  const cut = (input: Checked, start: number, end: number): Checked => {
    const step = input.data.length / rows;
    const data = Array.isArray(input.data)
      ? input.data.slice(start * step, end * step)
      : (input.data as Uint8Array).subarray(start * step, end * step);
    return { spec: input.spec, data, shape: [end - start, ...input.shape.slice(1)] };
  };
  const starts = Array.from({ length: Math.ceil(rows / size) }, (_, part) => part * size);
  return rows <= size
    ? [inputs]
    : starts.map((start) => inputs.map((input) => cut(input, start, Math.min(start + size, rows))));
}

function joinedOutputs(answers: readonly Outputs[], spec: ModelSpec): Outputs {
  const first = answers[0];
  if (answers.length === 1 && first !== undefined) {
    return first;
  }
  return new Map(
    spec.outputs.map(({ name, datatype }) => {
      const parts = answers.map((answer) => answer.get(name) as Output);
      const rowShapes = new Set(parts.map((part) => part.shape.slice(1).join()));
      if (rowShapes.size > 1) {
        const hint = "predictMany takes rows whose answers differ in shape";
        throw new UnexpectedAnswerError(`model '${spec.name}', output '${name}': the parts differ in shape`, hint);
      }
      const rows = parts.reduce((total, part) => total + (part.shape[0] ?? 0), 0);
      return [name, { datatype, shape: [rows, ...(parts[0]?.shape.slice(1) ?? [])], data: joinedData(parts) }];
    }),
  );
}

function joinedData(parts: readonly Output[]): FlatArray {
  const arrays = parts.map((part) => part.data);
  const first = arrays[0] as FlatArray;
  if (Array.isArray(first)) {
    return arrays.flatMap((each) => each as readonly unknown[]);
  }
  const whole = new (first.constructor as new (length: number) => Uint8Array)(
    arrays.reduce((total, each) => total + each.length, 0),
  );
  let offset = 0;
  for (const each of arrays as readonly Uint8Array[]) {
    whole.set(each, offset);
    offset += each.length;
  }
  return whole;
}

/** A model whose requests belong to sequences. */
export class SequenceModel<Row extends object, Result> extends ServedModel {
  /** A new sequence; without an id it gets one that nobody else has. */
  sequence(id: number | string = 1 + Math.floor(Math.random() * (Number.MAX_SAFE_INTEGER - 1))): Sequence<Row, Result> {
    return new Sequence(this, id);
  }
}

/** The calls of one sequence, which run one after another and are never repeated. */
export class Sequence<Row extends object, Result> {
  readonly id: number | string;
  readonly #model: SequenceModel<Row, Result>;
  #before: Promise<unknown> = Promise.resolve();
  #isStarted = false;
  #isEnded = false;

  constructor(model: SequenceModel<Row, Result>, id: number | string) {
    this.#model = model;
    this.id = id;
  }

  /** The next answer. `last` frees the model's slot; a sequence without one is ended by the server when it idles. */
  async predict(row: Row, options: CallOptions & { readonly last?: boolean | undefined } = {}): Promise<Result> {
    if (this.#isEnded) {
      throw new InputError(`sequence ${this.id} has ended`, "start another with sequence()");
    }
    const inputs = this.#model.single(row);
    const flags = { sequence_id: this.id, sequence_start: !this.#isStarted, sequence_end: options.last ?? false };
    this.#isStarted = true;
    this.#isEnded = flags.sequence_end;
    const answer = this.#before.then(() => this.#model.infer(inputs, options, flags));
    this.#before = answer.catch(() => undefined);
    return this.#model.result(await answer) as Result;
  }
}

/** A model that gives any number of answers to one request; over HTTP they come as text events. */
export class StreamingModel<Input extends object, Result> extends ServedModel {
  /**
   * The answers to one request, as they come.
   *
   * Triton's events carry one dimension and no bytes that are no text: `UnsupportedCallError` for other tensors, which
   * the gRPC client takes. Integers above 2^53 lose digits.
   */
  async *predict(input: Input, options: CallOptions = {}): AsyncGenerator<Result> {
    const inputs = this.single(input);
    const facts = this.facts(options);
    const deadline = this.client.deadline(options, facts);
    try {
      await this.ensureChecked(deadline, options);
      const sent = eventRequest(inputs, this.spec, this.version, options);
      for await (const event of events(this.client.stream(sent, deadline, facts), facts)) {
        yield this.result(eventOutputs(event, this.spec, facts)) as Result;
      }
    } finally {
      deadline.end();
    }
  }
}

function eventRequest(
  inputs: readonly Checked[],
  spec: ModelSpec,
  version: string | undefined,
  options: CallOptions,
): Sent {
  const fields = inputs.map(({ spec: tensor, data, shape }) => {
    const texts = eventTexts({ spec: tensor, data, shape }, spec);
    return `${JSON.stringify(tensor.name)}:${texts.length === 1 ? texts.join() : `[${texts.join()}]`}`;
  });
  const flat = inputs.every((input) => input.spec.dims.length <= 1);
  if (!flat) {
    throw unsupportedEvent(spec, "an input has more than one dimension");
  }
  const named = options.requestId === undefined ? [] : [`"id":${JSON.stringify(options.requestId)}`];
  const parameters = options.parameters === undefined ? [] : [`"parameters":${JSON.stringify(options.parameters)}`];
  const headers = { ...options.headers, "Content-Type": "application/json" };
  const body = `{${[...named, ...parameters, ...fields].join()}}`;
  return { method: "POST", path: modelPath(spec.name, version, "/generate_stream"), body, headers };
}

function eventTexts(tensor: Checked, spec: ModelSpec): readonly string[] {
  const { name, datatype } = tensor.spec;
  const values = decode(datatype, encode(tensor).slice().buffer) as readonly unknown[];
  return Array.from(values, (value) => {
    if (typeof value === "number" && !Number.isFinite(value)) {
      throw unsupportedEvent(spec, `input '${name}' holds ${value}`);
    }
    if (datatype === "BOOL") {
      return value ? "true" : "false";
    }
    return typeof value === "bigint"
      ? String(value)
      : JSON.stringify(value instanceof Uint8Array ? word(value, spec) : value);
  });
}

function word(raw: Uint8Array, spec: ModelSpec): string {
  try {
    return readText(raw);
  } catch {
    throw unsupportedEvent(spec, "an input holds bytes that are no text");
  }
}

function unsupportedEvent(spec: ModelSpec, reason: string): UnsupportedCallError {
  const hint = "a stream over HTTP is text of one dimension; a gRPC client takes the rest";
  return new UnsupportedCallError(`model '${spec.name}': ${reason}`, hint, { model: spec.name });
}

/** The events of a stream: `data: {...}` and an empty line. */
async function* events(chunks: AsyncIterable<Reply | string>, facts: Facts): AsyncGenerator<Named> {
  let text = "";
  for await (const chunk of chunks) {
    if (typeof chunk !== "string") {
      readJson(chunk, facts);
      throw new UnexpectedAnswerError("the stream has no body", "", facts);
    }
    const parts = (text + chunk).split("\n\n");
    text = parts.pop() ?? "";
    for (const part of parts) {
      yield readEvent(part, facts);
    }
  }
}

function readEvent(text: string, facts: Facts): Named {
  let event: Named;
  try {
    event = JSON.parse(text.replace(/^data:/, "")) as Named;
  } catch (error) {
    throw new UnexpectedAnswerError(`no event of a stream: ${text.slice(0, 80)}`, "", { ...facts, cause: error });
  }
  if (typeof event["error"] === "string") {
    throw refusal(500, event["error"], facts);
  }
  return event;
}

function eventOutputs(event: Named, spec: ModelSpec, facts: Facts): Outputs {
  return new Map(
    spec.outputs.map((output) => {
      const value = event[output.name];
      if (value === undefined) {
        throw new UnexpectedAnswerError(`model '${spec.name}': an event without '${output.name}'`, "", facts);
      }
      const data = Array.isArray(value) ? (value as readonly unknown[]) : [value];
      const shape = spec.maxBatchSize > 0 ? [1, data.length] : [data.length];
      const bytes = encode({ spec: output, data: packed(data, output, spec.name), shape });
      return [output.name, { datatype: output.datatype, shape, data: decode(output.datatype, bytes.slice().buffer) }];
    }),
  );
}
