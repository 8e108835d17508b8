// SPDX-License-Identifier: Apache-2.0
import { type Facts, type RepoClientError, refusal, UnexpectedAnswerError } from "./errors.ts";
import { type Checked, CODECS, type Datatype, decode, encode, type FlatArray, sizeOf } from "./values.ts";

type ParameterValue = string | number | boolean;
type CallParameters = Readonly<Record<string, ParameterValue>>;

/** An inference request, with the bytes of its tensors. */
interface InferBody {
  readonly body: ArrayBuffer;
  readonly headers: Readonly<Record<string, string>>;
}

/** One output as the server sent it. */
interface Output {
  readonly datatype: Datatype;
  readonly shape: readonly number[];
  readonly data: FlatArray;
}

/** What a server answers, as far as the protocol uses it. */
interface Reply {
  readonly status: number;
  readonly headerLength: string | null;
  readonly body: ArrayBuffer;
}

const HEADER_LENGTH = "Inference-Header-Content-Length";

/** The path of a model, or of something below it. */
function modelPath(name: string, version: string | undefined, rest = ""): string {
  const chosen = version === undefined ? "" : `/versions/${encodeURIComponent(version)}`;
  return `/v2/models/${encodeURIComponent(name)}${chosen}${rest}`;
}

/** A JSON header, and the tensors behind it: Triton's binary tensor data extension. */
function toBody(inputs: readonly Checked[], requestId: string, parameters: CallParameters): InferBody {
  const parts = inputs.map(encode);
  const documents = inputs.map((input, index) => ({
    name: input.spec.name,
    datatype: input.spec.datatype,
    shape: input.shape,
    parameters: { binary_data_size: parts[index]?.length ?? 0 },
  }));
  const document = { id: requestId, inputs: documents, parameters: { ...parameters, binary_data_output: true } };
  const header = new TextEncoder().encode(JSON.stringify(document));
  const body = joined([header, ...parts]);
  return { body, headers: { "Content-Type": "application/octet-stream", [HEADER_LENGTH]: String(header.length) } };
}

function joined(parts: readonly Uint8Array[]): ArrayBuffer {
  const whole = new ArrayBuffer(parts.reduce((total, part) => total + part.length, 0));
  const bytes = new Uint8Array(whole);
  let offset = 0;
  for (const part of parts) {
    bytes.set(part, offset);
    offset += part.length;
  }
  return whole;
}

/** The outputs by their names. */
function fromReply(reply: Reply, facts: Facts): ReadonlyMap<string, Output> {
  raiseForStatus(reply, facts);
  try {
    return readOutputs(reply);
  } catch (error) {
    throw notTheProtocol(reply, { ...facts, cause: error });
  }
}

interface OutputDocument {
  readonly name: string;
  readonly datatype: Datatype;
  readonly shape: readonly number[];
  readonly parameters: { readonly binary_data_size: number };
}

function readOutputs(reply: Reply): ReadonlyMap<string, Output> {
  const start = reply.headerLength === null ? reply.body.byteLength : Number(reply.headerLength);
  const document = parsed(reply.body.slice(0, start)) as { outputs: readonly OutputDocument[] };
  const outputs = new Map<string, Output>();
  let offset = start;
  for (const { name, datatype, shape, parameters } of document.outputs) {
    const end = offset + parameters.binary_data_size;
    if (!(datatype in CODECS) || end > reply.body.byteLength) {
      throw new RangeError(`output '${name}' is no whole tensor of a known type`);
    }
    const data = decode(datatype, reply.body.slice(offset, end));
    if (data.length !== sizeOf(shape)) {
      throw new RangeError(`output '${name}' has ${data.length} values`);
    }
    outputs.set(name, { datatype, shape, data });
    offset = end;
  }
  return outputs;
}

/** The JSON of an answer. */
function readJson(reply: Reply, facts: Facts): unknown {
  raiseForStatus(reply, facts);
  try {
    return parsed(reply.body);
  } catch (error) {
    throw notTheProtocol(reply, { ...facts, cause: error });
  }
}

function parsed(body: ArrayBuffer): unknown {
  return JSON.parse(new TextDecoder().decode(body));
}

function raiseForStatus(reply: Reply, facts: Facts): void {
  if (reply.status !== 200) {
    throw refused(reply, facts);
  }
}

function refused(reply: Reply, facts: Facts): RepoClientError {
  try {
    const { error } = parsed(reply.body) as { error?: unknown };
    return typeof error === "string" ? refusal(reply.status, error, facts) : notTheProtocol(reply, facts);
  } catch {
    return notTheProtocol(reply, facts);
  }
}

function notTheProtocol(reply: Reply, facts: Facts): UnexpectedAnswerError {
  const start = new TextDecoder().decode(reply.body.slice(0, 80));
  return new UnexpectedAnswerError(
    `the answer is none of the Open Inference Protocol: status ${reply.status}, ${JSON.stringify(start)}`,
    "is this Triton's HTTP port? To a browser, what stands in front of it must expose the header " +
      `${HEADER_LENGTH} (Access-Control-Expose-Headers)`,
    facts,
  );
}

export { type CallParameters, fromReply, HEADER_LENGTH, modelPath, type Output, readJson, type Reply, toBody };
