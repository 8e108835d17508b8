// SPDX-License-Identifier: Apache-2.0
import { expectedOutputs, type Outputs } from "./answers.ts";
import { ServedModel } from "./calls.ts";
import type { CallOptions, Sent } from "./client.ts";
import {
  ConnectionLostError,
  DatatypeError,
  type Facts,
  refusal,
  UnexpectedAnswerError,
  UnsupportedCallError,
} from "./errors.ts";
import type { ModelSpec } from "./signatures.ts";
import { type Checked, decode, encode, filledShape, packed, readText, type TensorSpec } from "./values.ts";
import { modelPath, type Output, readJson, type Reply } from "./wire.ts";

type StreamEvent = Readonly<Record<string, unknown>>;

/** A model that gives any number of answers to one request; over HTTP they come as text events. */
export class StreamingModel<Input extends object, Result> extends ServedModel {
  /**
   * The answers to one request, as they come.
   *
   * Triton's events carry one dimension and no bytes that are no text: `UnsupportedCallError` for other tensors, which
   * the gRPC client takes, and for a priority. Integers above 2^53 lose digits. The server hears nothing of the
   * deadline, which ends the stream here.
   */
  predict(input: Input, options: CallOptions = {}): AsyncGenerator<Result> {
    // Not itself a generator, which would read the input when it is first asked.
    return this.#answers(eventRequest(this.single(input), this.spec, this.version, options), options);
  }

  async *#answers(sent: Sent, options: CallOptions): AsyncGenerator<Result> {
    const facts = this.facts(options);
    const deadline = this.client.deadline(options, facts);
    try {
      await this.ensureChecked(deadline, options);
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
  requireEvents(inputs, spec, options);
  const fields = inputs.map(({ spec: tensor, data, shape }) => {
    const texts = eventTexts({ spec: tensor, data, shape }, spec);
    return `${JSON.stringify(tensor.name)}:${texts.length === 1 ? texts.join() : `[${texts.join()}]`}`;
  });
  const named = options.requestId === undefined ? [] : [`"id":${JSON.stringify(options.requestId)}`];
  const parameters = options.parameters === undefined ? [] : [`"parameters":${JSON.stringify(options.parameters)}`];
  const headers = { ...options.headers, "Content-Type": "application/json" };
  const body = `{${[...named, ...parameters, ...fields].join()}}`;
  return { method: "POST", path: modelPath(spec.name, version, "/generate_stream"), body, headers };
}

function requireEvents(inputs: readonly Checked[], spec: ModelSpec, options: CallOptions): void {
  if (inputs.some((input) => input.spec.dims.length > 1)) {
    throw unsupportedEvent(spec, "an input has more than one dimension");
  }
  if (spec.outputs.some((output) => output.dims.filter((size) => size === -1).length > 1)) {
    throw unsupportedEvent(spec, "an output has more than one free dimension, and events come flat");
  }
  if (options.priority !== undefined) {
    throw unsupportedEvent(spec, "a stream has no priority");
  }
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
async function* events(chunks: AsyncIterable<Reply | string>, facts: Facts): AsyncGenerator<StreamEvent> {
  let text = "";
  for await (const chunk of chunks) {
    if (typeof chunk !== "string") {
      readJson(chunk, facts);
      throw new UnexpectedAnswerError("the stream has no body", "is this Triton's HTTP port?", facts);
    }
    const parts = (text + chunk).split("\n\n");
    text = parts.pop() ?? "";
    for (const part of parts) {
      yield readEvent(part, facts);
    }
  }
  if (text.trim() !== "") {
    const hint = "what stands between may end long answers; the answers before it are whole";
    throw new ConnectionLostError(`the stream ended within an event: ${text.slice(0, 80)}`, hint, facts);
  }
}

function readEvent(text: string, facts: Facts): StreamEvent {
  let event: StreamEvent;
  try {
    event = JSON.parse(text.replace(/^data:/, "")) as StreamEvent;
  } catch (error) {
    const fact = `no event of a stream: ${text.slice(0, 80)}`;
    throw new UnexpectedAnswerError(fact, "is this Triton's HTTP port?", { ...facts, cause: error });
  }
  if (typeof event["error"] === "string") {
    throw refusal(500, event["error"], facts);
  }
  return event;
}

function eventOutputs(event: StreamEvent, spec: ModelSpec, facts: Facts): Outputs {
  const present = spec.outputs.filter((output) => event[output.name] !== undefined);
  const outputs = new Map(present.map((output) => [output.name, eventOutput(event[output.name], output, spec, facts)]));
  return expectedOutputs(outputs, spec, 1, facts);
}

/** Triton writes the values of whatever shape flat, and one without brackets. */
function eventOutput(value: unknown, output: TensorSpec, spec: ModelSpec, facts: Facts): Output {
  const values = Array.isArray(value) ? (value as readonly unknown[]) : [value];
  const own = filledShape(values.length, output.dims) ?? [values.length];
  const shape = spec.maxBatchSize > 0 ? [1, ...own] : own;
  try {
    const bytes = encode({ spec: output, data: packed(values, output, spec.name), shape });
    return { datatype: output.datatype, shape, data: decode(output.datatype, bytes.slice().buffer) };
  } catch (error) {
    if (!(error instanceof DatatypeError)) {
      throw error;
    }
    const fact = `model '${spec.name}', output '${output.name}': received ${error.received}, expected ${error.expected}`;
    throw new UnexpectedAnswerError(fact, error.hint, { ...facts, tensor: output.name, cause: error });
  }
}
