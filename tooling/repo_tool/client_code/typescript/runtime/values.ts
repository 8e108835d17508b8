// SPDX-License-Identifier: Apache-2.0
import { DatatypeError, type Facts, ShapeError, UnexpectedAnswerError } from "./errors.ts";

/** One element of each of Triton's data types as it is passed, and the flat arrays that hold many. */
interface Passed {
  readonly BOOL: readonly [boolean, Uint8Array];
  readonly UINT8: readonly [number, Uint8Array | Uint8ClampedArray];
  readonly UINT16: readonly [number, Uint16Array];
  readonly UINT32: readonly [number, Uint32Array];
  readonly UINT64: readonly [number | bigint, BigUint64Array];
  readonly INT8: readonly [number, Int8Array];
  readonly INT16: readonly [number, Int16Array];
  readonly INT32: readonly [number, Int32Array];
  readonly INT64: readonly [number | bigint, BigInt64Array];
  readonly FP16: readonly [number, Float32Array];
  readonly BF16: readonly [number, Float32Array];
  readonly FP32: readonly [number, Float32Array];
  readonly FP64: readonly [number, Float64Array];
  readonly BYTES: readonly [string | Uint8Array, readonly (string | Uint8Array)[]];
}

export type Datatype = keyof Passed;
/** One value of a tensor of type `D`. */
export type Value<D extends Datatype> = Passed[D][0];
/** Arrays in arrays, `Rank` deep: `Nested<number, 2>` is `number[][]`. */
export type Nested<T, Rank extends number, Depth extends readonly unknown[] = []> = Depth["length"] extends Rank
  ? T
  : readonly Nested<T, Rank, [...Depth, unknown]>[];
/** What a tensor of type `D` and `Rank` dimensions is passed as: flat, as arrays in arrays, or as a `Tensor`. */
export type Values<D extends Datatype, Rank extends number> = Rank extends 0
  ? Value<D>
  : Nested<Value<D>, Rank> | Tensor<Passed[D][1]> | (D extends "BYTES" ? never : Passed[D][1]);
/** What one element of type BYTES is read as; without it as UTF-8 text. */
export type BytesReader<B> = (raw: Uint8Array) => B;

/** Values with a shape, row by row: the last dimension changes fastest. */
export class Tensor<A extends ArrayLike<unknown>> {
  readonly data: A;
  readonly shape: readonly number[];

  constructor(data: A, shape: readonly number[]) {
    if (sizeOf(shape) !== data.length) {
      throw new ShapeError(`${data.length} values do not fill the shape [${shape.join(", ")}]`);
    }
    this.data = data;
    this.shape = shape;
  }

  /** The value at one index per dimension. */
  at(...indices: readonly number[]): A[number] {
    const inside = this.shape.every((size, axis) => 0 <= (indices[axis] ?? -1) && (indices[axis] ?? -1) < size);
    if (indices.length !== this.shape.length || !inside) {
      throw new RangeError(`no value at [${indices.join(", ")}] in the shape [${this.shape.join(", ")}]`);
    }
    return this.data[this.shape.reduce((offset, size, axis) => offset * size + (indices[axis] ?? 0), 0)];
  }

  /** Arrays in arrays, as deep as the tensor has dimensions. */
  toNested(): unknown {
    const build = (axis: number, offset: number): unknown => {
      const step = sizeOf(this.shape.slice(axis + 1));
      return axis === this.shape.length
        ? this.data[offset]
        : Array.from({ length: this.shape[axis] ?? 0 }, (_, index) => build(axis + 1, offset + index * step));
    };
    return build(0, 0);
  }
}

/** One tensor of a model: `dims` is -1 where a call chooses, and without the batch dimension of a batching model. */
export interface TensorSpec {
  readonly name: string;
  readonly property: string;
  readonly datatype: Datatype;
  readonly dims: readonly number[];
  readonly optional?: boolean;
  /** Of an input [n]: the names of its columns. */
  readonly columns?: readonly string[];
  /** Of an output of numbers [n]: the word of each class, and the property that tells the likeliest. */
  readonly classes?: { readonly property: string; readonly words: readonly string[] };
  /** Of an output of type BYTES: all that it can say. */
  readonly words?: readonly string[];
  /** Of an output of type BYTES: always UTF-8. */
  readonly isText?: boolean;
}

/** A row told by the names of its columns. */
export type Columns<Name extends string, V> = Readonly<Record<Name, V>>;

type NumericArray =
  | Uint8Array
  | Uint8ClampedArray
  | Uint16Array
  | Uint32Array
  | Int8Array
  | Int16Array
  | Int32Array
  | Float32Array
  | Float64Array;
type FlatArray = NumericArray | BigInt64Array | BigUint64Array | readonly unknown[];

/** A value that fits its tensor: packed into memory of its own, with the whole shape. */
interface Checked {
  readonly spec: TensorSpec;
  readonly data: FlatArray;
  readonly shape: readonly number[];
}

interface Codec {
  /** The arrays that are taken as they are. */
  readonly arrays: readonly (new (length: number) => FlatArray)[];
  /** What fits, in words. */
  readonly takes: string;
  /** A copy of the values as an array whose memory is what travels; for BYTES, whose elements do. */
  readonly pack: (values: FlatArray, fits: Fits) => FlatArray;
  readonly encode: (packed: FlatArray) => Uint8Array;
  readonly decode: (buffer: ArrayBuffer) => FlatArray;
}

/** Says of one value that it does not fit, where it does not. */
type Fits = (value: unknown, fits: boolean) => void;

interface NumericClass {
  new (buffer: ArrayBuffer): NumericArray;
  new (length: number): NumericArray;
  new (values: ArrayLike<number>): NumericArray;
}

function bytesOf(packed: FlatArray): Uint8Array {
  const { buffer, byteOffset, byteLength } = packed as Uint8Array;
  return new Uint8Array(buffer, byteOffset, byteLength);
}

function numeric(
  kind: NumericClass,
  takes: string,
  fitsType: (value: number) => boolean,
  ...alsoTaken: readonly (new (length: number) => FlatArray)[]
): Codec {
  const arrays = [kind, ...alsoTaken];
  const pack = (values: FlatArray, fits: Fits): FlatArray => {
    if (arrays.some((each) => values instanceof each)) {
      return new kind(values as NumericArray);
    }
    const target = new kind(values.length);
    for (let index = 0; index < values.length; index++) {
      const value = values[index];
      fits(value, typeof value === "number" && fitsType(value));
      target[index] = value as number;
    }
    return target;
  };
  return { arrays, takes, pack, encode: bytesOf, decode: (buffer) => new kind(buffer) };
}

function integer(kind: NumericClass, low: number, high: number): Codec {
  const alsoTaken = kind === Uint8Array ? [Uint8ClampedArray] : [];
  const fitsType = (value: number): boolean => Number.isInteger(value) && low <= value && value <= high;
  return numeric(kind, `whole numbers from ${low} to ${high}`, fitsType, ...alsoTaken);
}

function wideInteger(kind: typeof BigInt64Array | typeof BigUint64Array, low: bigint, high: bigint): Codec {
  const pack = (values: FlatArray, fits: Fits): FlatArray => {
    if (values instanceof kind) {
      return new kind(values as ArrayLike<bigint>);
    }
    const target = new kind(values.length);
    for (let index = 0; index < values.length; index++) {
      const value = values[index];
      const exact = typeof value === "bigint" || (typeof value === "number" && Number.isSafeInteger(value));
      fits(value, exact && low <= BigInt(value as number) && BigInt(value as number) <= high);
      target[index] = BigInt(value as number);
    }
    return target;
  };
  const takes = `bigints from ${low} to ${high}, and of numbers those that are whole and below 2^53: pass a bigint`;
  return { arrays: [kind], takes, pack, encode: bytesOf, decode: (buffer) => new kind(buffer) };
}

/** Types of 16 bits that JavaScript has no array for: they are Float32Array here. */
function shortFloat(toBits: (value: number) => number, fromBits: (bits: number) => number, infinity: number): Codec {
  const takes = `numbers up to ${fromBits(infinity - 1)}`;
  const pack = (values: FlatArray, fits: Fits): FlatArray => {
    const target = new Uint16Array(values.length);
    for (let index = 0; index < values.length; index++) {
      const value = values[index] as number;
      const bits = typeof value === "number" ? toBits(value) : infinity;
      fits(value, typeof value === "number" && !((bits & 0x7fff) === infinity && Number.isFinite(value)));
      target[index] = bits;
    }
    return target;
  };
  const decode = (buffer: ArrayBuffer): FlatArray => Float32Array.from(new Uint16Array(buffer), fromBits);
  return { arrays: [Float32Array], takes, pack, encode: bytesOf, decode };
}

function roundedToEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
}

const FLOAT64 = new Float64Array(1);
const FLOAT64_WORDS = new Uint32Array(FLOAT64.buffer);
const FLOAT32 = new Float32Array(1);
const FLOAT32_WORD = new Uint32Array(FLOAT32.buffer);

function halfBits(value: number): number {
  if (Number.isNaN(value)) {
    return 0x7e00;
  }
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (size >= 65520) {
    return sign | 0x7c00;
  }
  if (size < 2 ** -14) {
    return sign | roundedToEven(size * 2 ** 24);
  }
  FLOAT64[0] = size;
  const exponent = ((FLOAT64_WORDS[1] ?? 0) >>> 20) - 1023;
  return sign | (((exponent + 15) << 10) + roundedToEven(size * 2 ** (10 - exponent)) - 1024);
}

function halfValue(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >>> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0x1f) {
    return fraction ? NaN : sign * Infinity;
  }
  return exponent ? sign * (1024 + fraction) * 2 ** (exponent - 25) : sign * fraction * 2 ** -24;
}

function brainBits(value: number): number {
  if (Number.isNaN(value)) {
    return 0x7fc0;
  }
  FLOAT32[0] = value;
  const bits = FLOAT32_WORD[0] ?? 0;
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

function brainValue(bits: number): number {
  FLOAT32_WORD[0] = bits << 16;
  return FLOAT32[0] ?? 0;
}

const TEXT_TO_BYTES = new TextEncoder();
const BYTES_TO_TEXT = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** An element of type BYTES as UTF-8 text. */
function readText(raw: Uint8Array): string {
  try {
    return BYTES_TO_TEXT.decode(raw);
  } catch (error) {
    const hint = "make the model with { bytes: (raw) => raw } to receive Uint8Arrays";
    throw new UnexpectedAnswerError("an element of type BYTES is no UTF-8 text", hint, { cause: error });
  }
}

const HALF_PAIR = /\p{Surrogate}/u;

/** Whether a string can be written as UTF-8, which half of a surrogate pair cannot. */
function isWellFormed(text: string): boolean {
  return !HALF_PAIR.test(text);
}

// On the wire each element follows its length, a UINT32.
const BYTES_CODEC: Codec = {
  arrays: [],
  takes: "Uint8Arrays, and strings without half a surrogate pair",
  pack: (values, fits) =>
    Array.from(values as readonly unknown[], (value) => {
      fits(value, typeof value === "string" ? isWellFormed(value) : value instanceof Uint8Array);
      return typeof value === "string" ? TEXT_TO_BYTES.encode(value) : new Uint8Array(value as Uint8Array);
    }),
  encode: (packed) => {
    const elements = packed as readonly Uint8Array[];
    const whole = new Uint8Array(elements.reduce((total, element) => total + 4 + element.length, 0));
    const lengths = new DataView(whole.buffer);
    let offset = 0;
    for (const element of elements) {
      lengths.setUint32(offset, element.length, true);
      whole.set(element, offset + 4);
      offset += 4 + element.length;
    }
    return whole;
  },
  decode: (buffer) => {
    const lengths = new DataView(buffer);
    const elements: Uint8Array[] = [];
    for (let offset = 0; offset < buffer.byteLength;) {
      const length = lengths.getUint32(offset, true);
      elements.push(new Uint8Array(buffer, offset + 4, length));
      offset += 4 + length;
    }
    return elements;
  },
};

const BOOL_CODEC: Codec = {
  arrays: [Uint8Array],
  takes: "true and false",
  pack: (values, fits) => {
    const asBit = (value: unknown): number => {
      fits(value, typeof value === "boolean");
      return value ? 1 : 0;
    };
    return new Uint8Array(values instanceof Uint8Array ? values : Array.from(values as readonly unknown[], asBit));
  },
  encode: bytesOf,
  decode: (buffer) => new Uint8Array(buffer),
};

const fitsFloat32 = (value: number): boolean => Number.isFinite(Math.fround(value)) === Number.isFinite(value);

const CODECS: Readonly<Record<Datatype, Codec>> = {
  BOOL: BOOL_CODEC,
  UINT8: integer(Uint8Array, 0, 255),
  UINT16: integer(Uint16Array, 0, 65535),
  UINT32: integer(Uint32Array, 0, 2 ** 32 - 1),
  UINT64: wideInteger(BigUint64Array, 0n, 2n ** 64n - 1n),
  INT8: integer(Int8Array, -128, 127),
  INT16: integer(Int16Array, -32768, 32767),
  INT32: integer(Int32Array, -(2 ** 31), 2 ** 31 - 1),
  INT64: wideInteger(BigInt64Array, -(2n ** 63n), 2n ** 63n - 1n),
  FP16: shortFloat(halfBits, halfValue, 0x7c00),
  BF16: shortFloat(brainBits, brainValue, 0x7f80),
  FP32: numeric(Float32Array, "numbers up to 3.4028234e38", fitsFloat32),
  FP64: numeric(Float64Array, "numbers", () => true),
  BYTES: BYTES_CODEC,
};

function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

function shown(value: unknown): string {
  const text = typeof value === "string" ? `'${value}'` : String(value);
  return `${ArrayBuffer.isView(value) ? value.constructor.name : typeof value} ${text.slice(0, 40)}`;
}

/** The bytes of a tensor as they travel. */
function encode(tensor: Checked): Uint8Array {
  return CODECS[tensor.spec.datatype].encode(tensor.data);
}

/** A copy of the values as they travel, in an array that can still be cut into rows. */
function packed(data: FlatArray, { name, datatype }: TensorSpec, model: string): FlatArray {
  const { pack, takes } = CODECS[datatype];
  return pack(data, (value, fits) => {
    if (!fits) {
      const facts = { model, tensor: name, expected: datatype, received: shown(value) };
      const fact = `model '${model}', input '${name}': ${shown(value)} does not fit ${datatype}`;
      throw new DatatypeError(fact, `${datatype} takes ${takes}`, facts);
    }
  });
}

/** Where a value that fits its tensor holds its first NaN, one index per dimension; `undefined` for nowhere. */
function nanPlace(tensor: Checked): readonly number[] | undefined {
  const { datatype } = tensor.spec;
  const isShort = datatype === "FP16" || datatype === "BF16";
  const values = isShort ? decode(datatype, encode(tensor).slice().buffer) : tensor.data;
  const isFloat = isShort || datatype === "FP32" || datatype === "FP64";
  const first = isFloat ? (values as Float64Array).findIndex(Number.isNaN) : -1;
  const steps = tensor.shape.map((_, axis) => sizeOf(tensor.shape.slice(axis + 1)));
  return first < 0 ? undefined : tensor.shape.map((size, axis) => Math.floor(first / (steps[axis] ?? 1)) % size);
}

/** A flat array out of the bytes that came, aligned and of its own. */
function decode(datatype: Datatype, bytes: ArrayBuffer): FlatArray {
  return CODECS[datatype].decode(bytes);
}

/** Whether a tensor holds exactly one value. */
function isSingle(spec: TensorSpec): boolean {
  return spec.dims.length === 0 || (spec.dims.length === 1 && spec.dims[0] === 1);
}

/** Whether a shape is the declared one, whose -1 stands for any size. */
function isLike(declared: readonly number[], shape: readonly number[]): boolean {
  return shape.length === declared.length && declared.every((size, axis) => size === -1 || size === shape[axis]);
}

/** The shape of so many flat values: `declared`, its one -1 counted out; `undefined` where they do not fill it. */
function filledShape(length: number, declared: readonly number[]): readonly number[] | undefined {
  const free = declared.filter((size) => size === -1).length;
  const fixed = sizeOf(declared.filter((size) => size !== -1));
  const count = free === 1 ? length / fixed : 1;
  const isFilled = free < 2 && Number.isInteger(count) && count * fixed === length;
  return isFilled ? declared.map((size) => (size === -1 ? count : size)) : undefined;
}

/** `value` flat and with its shape, which is `declared` but for its -1; nothing of it is shared with `value`. */
function checked(value: unknown, spec: TensorSpec, declared: readonly number[], model: string): Checked {
  const found = flatten(value, spec, declared, model);
  if (!isLike(declared, found.shape) || sizeOf(found.shape) !== found.data.length) {
    throw wrongShape(spec, `[${found.shape.join(", ")}]`, declared, model);
  }
  return { spec, data: packed(found.data, spec, model), shape: found.shape };
}

type Flat = Omit<Checked, "spec">;

function flatten(value: unknown, spec: TensorSpec, declared: readonly number[], model: string): Flat {
  if (value instanceof Tensor) {
    requireArray(value.data as FlatArray, spec, model);
    return { data: value.data as FlatArray, shape: value.shape };
  }
  if (ArrayBuffer.isView(value) && spec.datatype !== "BYTES") {
    requireArray(value as unknown as FlatArray, spec, model);
    return { data: value as unknown as FlatArray, shape: shapeOf(value as NumericArray, spec, declared, model) };
  }
  if (Array.isArray(value)) {
    return fromNested(value, spec, declared, model);
  }
  const single = declared.every((size) => size === 1 || size === -1);
  return { data: [value], shape: single ? declared.map(() => 1) : [] };
}

function requireArray(data: FlatArray, spec: TensorSpec, model: string): void {
  const { arrays } = CODECS[spec.datatype];
  if (Array.isArray(data) || arrays.some((each) => data instanceof each)) {
    return;
  }
  const expected = arrays[0]?.name ?? "Array";
  const received = data?.constructor?.name ?? typeof data;
  const fact = `model '${model}', input '${spec.name}' of ${spec.datatype}: received ${received}, expected ${expected}`;
  throw new DatatypeError(fact, `${expected}.from(values) converts`, { model, tensor: spec.name, expected, received });
}

/** The shape of a flat array: `declared`, its one -1 counted out. */
function shapeOf(data: FlatArray, spec: TensorSpec, declared: readonly number[], model: string): readonly number[] {
  const shape = filledShape(data.length, declared);
  if (shape === undefined) {
    const isFree = declared.filter((size) => size === -1).length > 1;
    const hint = isFree ? "more than one dimension is free: pass new Tensor(data, shape)" : undefined;
    throw wrongShape(spec, `${data.length} flat values`, declared, model, hint);
  }
  return shape;
}

function fromNested(value: readonly unknown[], spec: TensorSpec, declared: readonly number[], model: string): Flat {
  const shape: number[] = [];
  for (let part: unknown = value; Array.isArray(part); part = part[0]) {
    shape.push(part.length);
  }
  const data: unknown[] = [];
  const collect = (part: unknown, axis: number): void => {
    const isArray = Array.isArray(part);
    if (isArray !== axis < shape.length || (isArray && part.length !== shape[axis])) {
      throw wrongShape(spec, "arrays of different lengths", declared, model);
    }
    if (isArray) {
      part.forEach((each) => collect(each, axis + 1));
    } else {
      data.push(part);
    }
  };
  collect(value, 0);
  return { data, shape };
}

function wrongShape(
  spec: TensorSpec,
  received: string,
  declared: readonly number[],
  model: string,
  hint = "-1 is a dimension that you choose; the others are fixed",
): ShapeError {
  const expected = `[${declared.join(", ")}]`;
  const facts: Facts = { model, tensor: spec.name, expected, received };
  return new ShapeError(
    `model '${model}', input '${spec.name}': received ${received}, expected ${expected}`,
    hint,
    facts,
  );
}

export {
  type Checked,
  checked,
  CODECS,
  decode,
  encode,
  filledShape,
  type FlatArray,
  isLike,
  isSingle,
  isWellFormed,
  nanPlace,
  packed,
  readText,
  sizeOf,
};
