// SPDX-License-Identifier: Apache-2.0
import { AnswerReader, expectedOutputs, GENERATE_ANEW, type Outputs } from "./answers.ts";
import type { CallOptions, Client, Deadline, Sent } from "./client.ts";
import { type Facts, InputError, RefusedRequestError, SignatureChangedError } from "./errors.ts";
import { asRows, batchInputs, refuseNan, singleInputs } from "./inputs.ts";
import { changesBetween, type Configuration, type Metadata, type ModelSpec } from "./signatures.ts";
import type { BytesReader, Checked } from "./values.ts";
import { type CallParameters, fromReply, modelPath, readJson, toBody } from "./wire.ts";

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

/** What all generated models share: the check of the signature, and one request. */
export class ServedModel {
  readonly spec: ModelSpec;
  readonly client: Client;
  readonly version: string | undefined;
  readonly #reader: AnswerReader;
  readonly #refusesNan: boolean;
  #isChecked = false;
  #largestBatch: number;

  constructor(client: Client, spec: ModelSpec, options: BytesOptions<unknown> = {}) {
    this.client = client;
    this.spec = spec;
    this.version = options.version === undefined ? undefined : String(options.version);
    this.#reader = new AnswerReader(spec, options.bytes);
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
    requirePriority(options);
    return await this.client.within(options, facts, async (deadline) => {
      await this.ensureChecked(deadline, options);
      const rows = inputs[0]?.shape[0] ?? -1;
      const once = async (): Promise<Outputs> => {
        const sent = this.#request(inputs, options, deadline, sequence);
        const outputs = fromReply(await this.client.send(sent, deadline, facts), facts);
        return expectedOutputs(outputs, this.spec, rows, facts);
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
        GENERATE_ANEW,
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

  /** @internal The inputs of one row, or of a whole call where the model does not batch. */
  single(values: object): readonly Checked[] {
    const inputs = this.#withoutNan(singleInputs(values, this.spec));
    return this.spec.maxBatchSize > 0 ? asRows(inputs) : inputs;
  }

  /** @internal The inputs of a batch, all of the same number of rows. */
  batch(values: object): readonly Checked[] {
    return this.#withoutNan(batchInputs(values, this.spec));
  }

  #withoutNan(inputs: readonly Checked[]): readonly Checked[] {
    if (this.#refusesNan) {
      refuseNan(inputs, this.spec.name);
    }
    return inputs;
  }

  /** @internal The answer of one row, or of a whole call where the model does not batch. */
  result(outputs: Outputs): object {
    return this.#reader.single(outputs);
  }

  /** @internal The answers of a batch. */
  batchResult(outputs: Outputs): object {
    return this.#reader.batch(outputs);
  }
}

function requirePriority({ priority }: CallOptions): void {
  if (priority !== undefined && !(Number.isInteger(priority) && 0 < priority && priority < 2 ** 32)) {
    throw new InputError(`priority is ${priority}`, "1 is the highest of the model's priority_levels");
  }
}

/** What the server is told of time: how long the call may take, and whom it may overtake. */
function timing(options: CallOptions, deadline: Deadline): CallParameters {
  const timeout = Math.floor(Math.min(deadline.remainingMs * 1000, Number.MAX_SAFE_INTEGER));
  return options.priority === undefined ? { timeout } : { timeout, priority: options.priority };
}
