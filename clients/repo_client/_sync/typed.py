# SPDX-License-Identifier: Apache-2.0
# Generated from _async/typed.py by clients/generate_sync.py: change that file, then run it.
"""What generated clients are made of: their own classes only name what goes in and comes out."""

from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from functools import partial
from types import TracebackType
from typing import Any, ClassVar, NamedTuple, Self, TypeVar

from repo_client._calls import CallOptions
from repo_client._contract import Codec, Contract, PredictOptions
from repo_client._errors import (
    ModelNotFoundError,
    RefusedRequestError,
    RepoClientError,
    SignatureChangedError,
    UnexpectedAnswerError,
)
from repo_client._options import Nan
from repo_client._sync.client import Client
from repo_client._sync.model import Model
from repo_client._sync.sequences import ModelSequence
from repo_client._thread_window import Source

_Result = TypeVar("_Result")
_MAY_BE_ANOTHER_MODEL = (RefusedRequestError, UnexpectedAnswerError)


class _Served(NamedTuple):
    """A served model that fits the contract, and the outputs to ask it for: None for all that it has."""

    model: Model
    outputs: tuple[str, ...] | None

    def options(self, options: PredictOptions | CallOptions) -> CallOptions:
        """Those of a call, which asks for the outputs of the contract."""
        return call_options(options, self.outputs)


def call_options(options: PredictOptions | CallOptions, outputs: tuple[str, ...] | None) -> CallOptions:
    """Options of ``AsyncModel.infer`` that ask for these outputs."""
    call: CallOptions = {**options}
    call["outputs"] = outputs
    return call


class TypedModel:
    """The base of generated classes. On its first use the served signature is held against the one it was made for.

    Args:
        client: an open client of the server.
        version: the version to call; None leaves the choice to the server at each call.
        label: the label whose version is called, as it is at each call.
        nan: ``"refuse"`` refuses inputs that hold a NaN.
    """

    contract: ClassVar[Contract]
    _codec: ClassVar[Codec]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._codec = Codec(cls.contract)

    def __init__(
        self,
        client: Client,
        *,
        version: str | int | None = None,
        label: str | None = None,
        nan: Nan = "allow",
    ) -> None:
        self._client, self._version, self._label, self._nan = client, version, label, nan
        self._found: _Served | None = None

    def check(self, *, timeout_s: float | None = None) -> None:
        """Hold the served model against the one that this class was generated for, now.

        Raises:
            SignatureChangedError: it takes or gives something else; the error lists what changed.
            ModelNotFoundError: the server has no such model, or has not loaded it.
            NetworkError: the server cannot be reached.
        """
        name = self.contract.model
        model = self._client.model(name, version=self._version, label=self._label, timeout_s=timeout_s, nan=self._nan)
        self.contract.check(model.signature)
        has_more = len(model.signature.outputs) > len(self.contract.outputs)
        self._found = _Served(model, self.contract.output_names if has_more else None)

    def _served(self, options: PredictOptions) -> _Served:
        if self._found is None:
            self.check(timeout_s=options.get("timeout_s"))
        assert self._found is not None  # noqa: S101  # check raises or finds it
        return self._found

    def _predict(self, result: Callable[..., _Result], inputs: Mapping[str, Any], options: PredictOptions) -> _Result:
        """Run the model on one row: a row in, a row out."""
        arrays = self._codec.one(inputs, options.get("cast", "no"))
        served = self._served(options)
        try:
            answer = served.model.infer(arrays, **served.options(options))
            return result(**self._codec.read_one(answer))
        except _MAY_BE_ANOTHER_MODEL as error:
            self._explain(error)
            raise

    def _predict_batch(
        self, result: Callable[..., _Result], inputs: Mapping[str, Any], options: PredictOptions
    ) -> _Result:
        """Run the model on any number of rows: the batch dimension first, in and out."""
        arrays = self._codec.many(inputs, options.get("cast", "no"))
        served = self._served(options)
        try:
            answer = served.model.infer_batch(arrays, **served.options(options))
            return result(**self._codec.read_many(answer))
        except _MAY_BE_ANOTHER_MODEL as error:
            self._explain(error)
            raise

    def _predict_many(
        self,
        result: Callable[..., _Result],
        rows: Source[Any],
        *,
        max_in_flight: int,
        progress: bool,
        options: PredictOptions,
    ) -> Generator[_Result, None]:
        """Run the model on each of the rows, of which there may be no end; results come in their order."""
        served, one = self._served(options), partial(self._codec.one, cast=options.get("cast", "no"))
        own = served.options(options)
        answers = served.model._infer_each(
            rows, one, limit=max_in_flight, errors="raise", progress=progress, options=own
        )
        with closing(answers):
            try:
                for answer in answers:
                    yield result(**self._codec.read_one(answer))
            except _MAY_BE_ANOTHER_MODEL as error:
                self._explain(error)
                raise

    def _stream(
        self, result: Callable[..., _Result], inputs: Mapping[str, Any], options: PredictOptions
    ) -> Generator[_Result, None]:
        """Run a decoupled model once; results come as the model gives them."""
        arrays = self._codec.one(inputs, options.get("cast", "no"))
        served = self._served(options)
        with closing(served.model.stream(arrays, **served.options(options))) as answers:
            try:
                for answer in answers:
                    yield result(**self._codec.read_one(answer))
            except _MAY_BE_ANOTHER_MODEL as error:
                self._explain(error)
                raise

    def _explain(self, error: RepoClientError) -> None:
        """Say why a call failed, if it did because the model was replaced since it was looked at.

        Raises:
            SignatureChangedError: by one that takes or gives something else.
            ModelNotFoundError: by none.
        """
        try:
            self.check()
        except (SignatureChangedError, ModelNotFoundError) as found:
            raise found from error
        except RepoClientError:
            return  # the first failure is the one to tell


class TypedSequence:
    """The base of a generated model's sequences: a ``with`` block of requests that the model keeps a state for."""

    def __init__(self, model: TypedModel, sequence_id: int | str | None) -> None:
        self._model, self._id = model, sequence_id
        self._sequence: ModelSequence | None = None
        self._outputs: tuple[str, ...] | None = None

    def __enter__(self) -> Self:
        served = self._model._served({})
        self._sequence, self._outputs = served.model.sequence(self._id), served.outputs
        self._sequence.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open().__exit__(kind, error, traceback)

    @property
    def id(self) -> int | str:
        """The correlation id."""
        return self._open().id

    def _open(self) -> ModelSequence:
        if self._sequence is None:
            raise RuntimeError("a sequence is a with block: `with model.sequence() as sequence:`")
        return self._sequence

    def _predict(
        self, result: Callable[..., _Result], inputs: Mapping[str, Any], options: PredictOptions, *, last: bool
    ) -> _Result:
        """Run the model on the next row of the sequence."""
        codec, sequence = self._model._codec, self._open()
        arrays = codec.one(inputs, options.get("cast", "no"))
        answer = sequence.infer(arrays, last=last, **call_options(options, self._outputs))
        return result(**codec.read_one(answer))
