// SPDX-License-Identifier: Apache-2.0
import type { Outputs } from "./answers.ts";
import { ServedModel } from "./calls.ts";
import type { CallOptions } from "./client.ts";
import { InputError } from "./errors.ts";
import { type Checked, isWellFormed } from "./values.ts";

/** The options of a call of a sequence. */
type SequenceOptions = CallOptions & { readonly last?: boolean | undefined };

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
    requireId(id);
    this.#model = model;
    this.id = id;
  }

  /**
   * The next answer. `last` frees the model's slot; a sequence without one is ended by the server when it idles.
   *
   * A call that failed is none of the sequence: the next one starts it where it had not begun, and ends it where
   * `last` failed.
   */
  async predict(row: Row, options: SequenceOptions = {}): Promise<Result> {
    const inputs = this.#model.single(row);
    const answer = this.#before.then(() => this.#next(inputs, options));
    this.#before = answer.catch(() => undefined);
    return this.#model.result(await answer) as Result;
  }

  async #next(inputs: readonly Checked[], { last = false, ...options }: SequenceOptions): Promise<Outputs> {
    if (this.#isEnded) {
      throw new InputError(`sequence ${this.id} has ended`, "start another with sequence()");
    }
    const flags = { sequence_id: this.id, sequence_start: !this.#isStarted, sequence_end: last };
    const outputs = await this.#model.infer(inputs, options, flags);
    this.#isStarted = true;
    this.#isEnded = last;
    return outputs;
  }
}

/** Triton takes 0 and "" for no sequence, and at most 128 bytes of text. */
function requireId(id: number | string): void {
  const isText = typeof id === "string" && isWellFormed(id);
  const bytes = isText ? new TextEncoder().encode(id).length : 0;
  if (!(Number.isSafeInteger(id) && (id as number) > 0) && !(0 < bytes && bytes <= 128)) {
    const hint = "a whole number from 1 to 2^53 - 1, or 1 to 128 bytes of text";
    throw new InputError(`the id of a sequence is ${typeof id === "string" ? `'${id}'` : String(id)}`, hint);
  }
}
