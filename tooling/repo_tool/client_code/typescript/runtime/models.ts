// SPDX-License-Identifier: Apache-2.0
import { joinedOutputs, type Outputs } from "./answers.ts";
import { ServedModel } from "./calls.ts";
import type { CallOptions } from "./client.ts";
import type { RepoClientError } from "./errors.ts";
import { partsOf } from "./inputs.ts";
import { inOrder, type ManyOf, type ManyOptions, manyOf, unsettled } from "./many.ts";
import type { Checked } from "./values.ts";

const PARTS_IN_FLIGHT = 4;

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
        this.infer(part, { ...options, signal, timeoutMs: deadline.innerMs });
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
    const requests = inputs.map((input) => this.single(input));
    const run = (request: readonly Checked[], signal: AbortSignal): Promise<Outputs> =>
      this.infer(request, { ...options, signal });
    const answers: Result[] = [];
    for await (const answer of inOrder(requests, PARTS_IN_FLIGHT, options.signal, run)) {
      answers.push(this.result(unsettled(answer)) as Result);
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
