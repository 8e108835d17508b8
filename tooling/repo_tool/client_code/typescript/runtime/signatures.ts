// SPDX-License-Identifier: Apache-2.0
import type { TensorSpec } from "./values.ts";

/** A model as this file was generated for it. */
export interface ModelSpec {
  readonly name: string;
  /** 0: the model does not batch. */
  readonly maxBatchSize: number;
  readonly inputs: readonly TensorSpec[];
  readonly outputs: readonly TensorSpec[];
  readonly isDecoupled?: boolean;
  /** Its requests belong to sequences. */
  readonly isSequence?: boolean;
  /** Of all that a client depends on. */
  readonly digest: string;
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
  readonly sequence_batching?: object;
  readonly parameters?: Readonly<Record<string, { readonly string_value?: string }>>;
}

/** What has changed so that calls made for `spec` would fail, in words. */
function changesBetween(spec: ModelSpec, metadata: Metadata, config: Configuration): readonly string[] {
  const served = metadata.inputs ?? [];
  const optional = new Set((config.input ?? []).filter((each) => each.optional).map((each) => each.name));
  const known = new Set(spec.inputs.map((input) => input.name));
  const added = served.filter((input) => !known.has(input.name) && !optional.has(input.name));
  return [
    ...mannerChanges(spec, config),
    ...spec.inputs.flatMap((input) => [...tensorChanges(spec, "input", input, served), ...inputChanges(input, config)]),
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
  const isSequence = config.sequence_batching !== undefined;
  return [
    ...(size > 0 === spec.maxBatchSize > 0 ? [] : [`it ${size > 0 ? "batches now" : "no longer batches"}`]),
    ...(isDecoupled === (spec.isDecoupled ?? false) ? [] : [`it is ${isDecoupled ? "now" : "no longer"} decoupled`]),
    ...(isSequence === (spec.isSequence ?? false)
      ? []
      : [`its requests ${isSequence ? "now" : "no longer"} belong to sequences`]),
  ];
}

/** What only the configuration says of an input. */
function inputChanges(input: TensorSpec, config: Configuration): readonly string[] {
  const now = config.input?.find((each) => each.name === input.name);
  const columns = columnsIn(config)[input.name];
  const isNamed = input.columns !== undefined && Array.isArray(columns) && columns.length > 0;
  const isOther = isNamed && JSON.stringify(columns) !== JSON.stringify(input.columns);
  return [
    ...(input.optional && now !== undefined && !now.optional ? [`input '${input.name}' is no longer optional`] : []),
    ...(isOther ? [`the columns of input '${input.name}' are ${columns.join(", ")}`] : []),
  ];
}

/** The names of the columns of each input, where whoever published the model said them. */
function columnsIn(config: Configuration): Readonly<Record<string, unknown>> {
  try {
    return Object(JSON.parse(config.parameters?.["columns"]?.string_value ?? "{}")) as Record<string, unknown>;
  } catch {
    return {}; // a model's own parameter of that name
  }
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

export { changesBetween, type Configuration, type Metadata };
