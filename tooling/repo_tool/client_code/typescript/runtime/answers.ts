// SPDX-License-Identifier: Apache-2.0
import { type Facts, SignatureChangedError, UnexpectedAnswerError } from "./errors.ts";
import type { ModelSpec } from "./signatures.ts";
import { type BytesReader, type FlatArray, isLike, isSingle, readText, Tensor, type TensorSpec } from "./values.ts";
import type { Output } from "./wire.ts";

type Outputs = ReadonlyMap<string, Output>;

const GENERATE_ANEW = "generate the client anew, with repo-tool client generate";

/** The outputs of an answer to so many rows (-1: any number), which must be all there, of their types and shapes. */
function expectedOutputs(outputs: Outputs, spec: ModelSpec, rows: number, facts: Facts): Outputs {
  for (const { name, datatype, dims } of spec.outputs) {
    const found = outputs.get(name);
    const shape = spec.maxBatchSize > 0 ? [rows, ...dims] : dims;
    if (found?.datatype !== datatype || !isLike(shape, found.shape)) {
      const received = found === undefined ? "nothing" : `${found.datatype} [${found.shape.join(", ")}]`;
      const expected = `${datatype} [${shape.join(", ")}]`;
      const fact = `model '${spec.name}', output '${name}': received ${received}, expected ${expected}`;
      const hint = "checkSignature() says whether the model is another now; else it breaks its own configuration";
      throw new UnexpectedAnswerError(fact, hint, { ...facts, tensor: name, expected, received });
    }
  }
  return outputs;
}

/** Reads the outputs of one model. */
class AnswerReader {
  readonly #spec: ModelSpec;
  readonly #readBytes: BytesReader<unknown>;

  constructor(spec: ModelSpec, readBytes: BytesReader<unknown> = readText) {
    this.#spec = spec;
    this.#readBytes = readBytes;
  }

  /** The answer of one row, or of a whole call where the model does not batch. */
  single(outputs: Outputs): object {
    return this.#results(outputs, "", (spec, data, shape) => {
      const own = this.#spec.maxBatchSize > 0 ? shape.slice(1) : shape;
      const value = spec.datatype === "BOOL" ? Boolean(data[0]) : data[0];
      return { value: isSingle(spec) ? value : shaped(data, own), likeliest: (words) => words[peak(data, 0)] };
    });
  }

  /** The answers of a batch. */
  batch(outputs: Outputs): object {
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
    for (const spec of this.#spec.outputs) {
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
      const { name: model } = this.#spec;
      const fact = `model '${model}', output '${spec.name}': '${String(strange)}' is none of its words`;
      throw new SignatureChangedError(fact, GENERATE_ANEW, { model, tensor: spec.name });
    }
    return elements;
  }
}

interface Read {
  readonly value: unknown;
  readonly likeliest: (words: readonly string[]) => unknown;
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

/** The answers to the parts of a batch as one. */
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

export { AnswerReader, expectedOutputs, GENERATE_ANEW, joinedOutputs, type Outputs };
