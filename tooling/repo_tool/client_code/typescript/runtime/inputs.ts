// SPDX-License-Identifier: Apache-2.0
import { BatchSizeError, MissingInputError, NanError, UnknownTensorError } from "./errors.ts";
import type { ModelSpec } from "./signatures.ts";
import { type Checked, checked, isSingle, nanPlace, type TensorSpec } from "./values.ts";

type Named = Readonly<Record<string, unknown>>;

/** The inputs of one row, or of a whole call where the model does not batch; their memory is their own. */
function singleInputs(values: object, spec: ModelSpec): readonly Checked[] {
  return eachInput(values, spec, (value, input) =>
    checked(inColumns(value, input, spec.name), input, input.dims, spec.name),
  );
}

/** Rows out of what was checked as one. */
function asRows(inputs: readonly Checked[]): readonly Checked[] {
  return inputs.map((input) => ({ ...input, shape: [1, ...input.shape] }));
}

/** The inputs of a batch, all of the same number of rows; their memory is their own. */
function batchInputs(values: object, spec: ModelSpec): readonly Checked[] {
  const inputs = eachInput(values, spec, (value, input) => {
    if (Array.isArray(value) && value.length === 0) {
      throw unevenRows("none", spec.name);
    }
    const rows = Array.isArray(value) ? value.map((each: unknown) => inColumns(each, input, spec.name)) : value;
    const isFlat = isSingle(input) && Array.isArray(rows) && !rows.some(Array.isArray);
    const shaped = isFlat ? rows.map((each: unknown) => [each]) : rows;
    return checked(shaped, input, [-1, ...input.dims], spec.name);
  });
  if (inputs.some((input) => input.shape[0] !== inputs[0]?.shape[0] || input.shape[0] === 0)) {
    const received = inputs.map((input) => `${input.shape[0] ?? 0} for '${input.spec.name}'`).join(", ");
    throw unevenRows(received, spec.name);
  }
  return inputs;
}

function unevenRows(received: string, model: string): BatchSizeError {
  const expected = "as many rows for every input, and one at least";
  return new BatchSizeError(`model '${model}': received rows: ${received}`, expected, { model, expected, received });
}

function eachInput(
  values: object,
  { name: model, inputs }: ModelSpec,
  check: (value: unknown, spec: TensorSpec) => Checked,
): readonly Checked[] {
  const given = values as Named;
  const known = inputs.map((input) => input.property);
  const unknown = Object.keys(given).find((property) => !known.includes(property));
  if (unknown !== undefined) {
    const facts = { model, tensor: unknown, expected: known.join(", ") };
    throw new UnknownTensorError(`model '${model}' has no input '${unknown}'`, nearest(unknown, known), facts);
  }
  const missing = inputs.find((input) => given[input.property] === undefined && !input.optional);
  if (missing !== undefined) {
    const needed = inputs.filter((input) => !input.optional).map((input) => input.property);
    const facts = { model, tensor: missing.name, expected: needed.join(", ") };
    const fact = `model '${model}': no value for input '${missing.property}'`;
    throw new MissingInputError(fact, `it needs ${listed(needed)}`, facts);
  }
  const present = inputs.filter((input) => given[input.property] !== undefined);
  return present.map((input) => check(given[input.property], input));
}

/** Throw where an input holds a NaN. */
function refuseNan(inputs: readonly Checked[], model: string): void {
  for (const input of inputs) {
    const place = nanPlace(input);
    if (place !== undefined) {
      const { name } = input.spec;
      const fact = `model '${model}', input '${name}' holds NaN, the first at [${place.join(", ")}]`;
      throw new NanError(fact, 'fill the gaps, or make the model with { nan: "allow" }', { model, tensor: name });
    }
  }
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
    const fact = `model '${model}', input '${spec.name}': no value for column '${missing}'`;
    throw new MissingInputError(fact, `its columns are ${listed(columns)}`, facts);
  }
  return columns.map((name) => given[name]);
}

function nearest(name: string, known: readonly string[]): string {
  const ranked = known.map((each) => ({ each, distance: editDistance(name, each) }));
  const best = ranked.sort((one, other) => one.distance - other.distance)[0];
  return best !== undefined && best.distance <= Math.max(2, name.length / 3)
    ? `did you mean '${best.each}'?`
    : `there are ${listed(known)}`;
}

function listed(names: readonly string[]): string {
  return names.map((each) => `'${each}'`).join(", ");
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

/** A batch in parts of `size` rows, the last of what is left. */
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

export { asRows, batchInputs, partsOf, refuseNan, singleInputs };
