# SPDX-License-Identifier: Apache-2.0
"""Calls and their answers as lines of JSON, and the search for the answer to a call among them.

A call is known by what decides its answer: its kind, the model and version, and of a request its inputs, the outputs
wanted and its parameters. Deadlines, request ids, headers and tokens are neither compared nor written, and sequences,
whose ids are chosen at random, are numbered in the order in which they begin.
"""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from hashlib import sha256
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any, NoReturn

import numpy as np

from repo_client import _errors
from repo_client._errors import Facts, InputError, NotRecordedError, RepoClientError, SharedMemoryError
from repo_client._messages import InferRequest, InferResponse, WireTensor
from repo_client._tensors import decode

_FORMAT = {"format": "repo_client recording", "version": 1}
_FACTS = [field.name for field in fields(Facts)]
Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a call gave: its value (answers in a list for a stream), and the error that ended it, if any."""

    value: Any = None
    error: RepoClientError | None = None
    left: bool = False  # by the reader of a stream, before its end


class Requests:
    """The requests of one recording or replay, as documents of what decides their answers."""

    def __init__(self) -> None:
        self._sequences: dict[Any, int] = {}
        self._numbers = count(1)

    def document(self, request: InferRequest) -> dict[str, Any]:
        """What decides the answer to a request."""
        return {
            "model": request.model,
            "version": request.version,
            "inputs": [_tensor_document(tensor) for tensor in request.inputs],
            "outputs": list(request.outputs),
            "parameters": self._parameters(dict(request.parameters)),
        }

    def _parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        sequence = parameters.get("sequence_id")
        if sequence is None:
            return parameters
        if parameters.get("sequence_start"):
            self._sequences[sequence] = next(self._numbers)
        return {**parameters, "sequence_id": self._sequences.get(sequence, 0)}


def load_document(name: str, config: str | None, files: Mapping[str, bytes]) -> dict[str, Any]:
    """What decides the end of a loading; of files, their digests."""
    digests = {path: sha256(content).hexdigest() for path, content in files.items()}
    return {"model": name, "config": config, "files": digests}


def _tensor_document(tensor: WireTensor) -> dict[str, Any]:
    data = base64.b64encode(tensor.data).decode("ascii")
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape), "data": data}


def _read_tensor(document: Document) -> WireTensor:
    data = base64.b64decode(document["data"], validate=True)
    return WireTensor(name=document["name"], datatype=document["datatype"], shape=tuple(document["shape"]), data=data)


def response_document(response: InferResponse) -> dict[str, Any]:
    """An answer without the id of its request."""
    return {
        "model": response.model,
        "version": response.version,
        "outputs": [_tensor_document(tensor) for tensor in response.outputs],
        "parameters": dict(response.parameters),
    }


def read_response(document: Document, request_id: str) -> InferResponse:
    """The answer, now to the request of that id."""
    return InferResponse(
        model=document["model"],
        version=document["version"],
        request_id=request_id,
        outputs=tuple(map(_read_tensor, document["outputs"])),
        parameters=document["parameters"],
    )


class Tape:
    """The calls of one recording, written when it is whole: a run that breaks off leaves the file as it was.

    Raises:
        InputError: there is no folder to write it into.
    """

    def __init__(self, path: Path) -> None:
        if not path.parent.is_dir():
            raise InputError(
                f"the folder of the recording {path} is not there", hint=f"make it: mkdir -p {path.parent}"
            )
        self._path = path
        self._lines: list[str] = []  # of calls that are still under way, empty
        self._lock = Lock()

    def begin(self, call: str, arguments: Document) -> Callable[[Outcome], None]:
        """Keep the place of a call that begins, and give what puts its outcome there; without one it is left out."""
        with self._lock:
            place = len(self._lines)
            self._lines.append("")

        def end(outcome: Outcome) -> None:
            document = {"call": call, "arguments": arguments, "value": outcome.value}
            if outcome.error is not None:
                document["error"] = _error_document(outcome.error)
            if outcome.left:
                document["left"] = True
            self._lines[place] = json.dumps(document, sort_keys=True)

        return end

    def write(self) -> None:
        """Replace the file."""
        lines = [json.dumps(_FORMAT), *filter(None, self._lines)]
        beside = self._path.with_name(f".{self._path.name}.part")
        beside.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        beside.replace(self._path)


def no_regions_recorded() -> SharedMemoryError:
    """Memory that is shared goes past a recorder."""
    return SharedMemoryError("tensors in shared memory cannot be recorded", hint='open the client with "auto" or "off"')


def _error_document(error: RepoClientError) -> dict[str, Any]:
    facts = {name: getattr(error, name) for name in _FACTS}
    return {"kind": type(error).__name__, "fact": error.fact, "hint": error.hint, "facts": facts}


def _read_error(document: Document) -> RepoClientError:
    kind: type[RepoClientError] = getattr(_errors, document["kind"])
    return kind(document["fact"], hint=document["hint"], facts=Facts(**document["facts"]))


class Recording:
    """The calls of a file. A call that was made more than once is answered in the order of old, then as the last time.

    Raises:
        InputError: the file is no recording.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._outcomes: dict[str, list[Outcome]] = {}
        self._arguments: list[tuple[str, Document]] = []
        self._lock = Lock()
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
            self._read(lines)
        except OSError as error:
            hint = "make it with repo_client.testing.Recorder"
            raise InputError(f"the recording {path} cannot be read: {error.strerror}", hint=hint) from error
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise InputError(f"{path} is no recording: {error}", hint="record it again") from error

    def _read(self, lines: Sequence[str]) -> None:
        if json.loads(lines[0]) != _FORMAT:
            raise ValueError(f"its first line is not {json.dumps(_FORMAT)}")
        for line in lines[1:]:
            document = json.loads(line)
            call, arguments = document["call"], document["arguments"]
            error = _read_error(document["error"]) if "error" in document else None
            outcome = Outcome(value=document["value"], error=error, left=document.get("left", False))
            self._outcomes.setdefault(_key(call, arguments), []).append(outcome)
            self._arguments.append((call, arguments))

    def outcome(self, call: str, arguments: Document) -> Outcome:
        """What the call gave.

        Raises:
            NotRecordedError: it was never made.
        """
        outcomes = self._outcomes.get(_key(call, arguments))
        if outcomes is None:
            self._refuse(call, arguments)
        with self._lock:
            found = outcomes.pop(0) if len(outcomes) > 1 else outcomes[0]
        # A copy: an exception that is raised more than once collects the tracebacks of all times.
        return found if found.error is None else replace(found, error=_read_error(_error_document(found.error)))

    def value(self, call: str, arguments: Document) -> Any:
        """The value that the call gave.

        Raises:
            RepoClientError: it failed then, or it was never made.
        """
        outcome = self.outcome(call, arguments)
        if outcome.error is not None:
            raise outcome.error
        return outcome.value

    def check_end(self, outcome: Outcome) -> None:
        """Raise what comes behind the answers of a stream, if anything does.

        Raises:
            RepoClientError: what ended it then.
            NotRecordedError: nobody knows, because its reader had left.
        """
        if outcome.error is not None:
            raise outcome.error
        if outcome.left:
            answers = f"{len(outcome.value)} answer{'s' * (len(outcome.value) != 1)}"
            raise NotRecordedError(
                f"{self._path.name} has {answers} of this stream, which was left then",
                hint="read as far as it was read then, or record it again",
            )

    def _refuse(self, call: str, arguments: Document) -> NoReturn:
        model = arguments.get("model")
        subject = f"{call} of model '{model}'" if model else call
        recorded = [each for kind, each in self._arguments if kind == call]
        raise NotRecordedError(
            f"{self._path.name} has no answer to this {subject}",
            hint=f"{_nearest(arguments, recorded)}; if that is as it should be, record it again",
            facts=Facts(model=model, version=arguments.get("version")),
        )


def _key(call: str, arguments: Document) -> str:
    return json.dumps([call, arguments], sort_keys=True)


def _nearest(arguments: Document, recorded: Sequence[Document]) -> str:
    if not recorded:
        return "it has none of this kind"
    _, sentences = min((_differences(arguments, each) for each in recorded), key=lambda pair: pair[0])
    return f"the nearest that it has differs in {'; '.join(sentences)}"


def _differences(here: Document, there: Document) -> tuple[tuple[float, ...], list[str]]:
    """What differs, and how much it weighs: the model first, then the number of differences, then that of values."""
    names, values = sorted({*here, *there} - {"inputs"}), 0.0
    sentences = [
        f"{name}: {here.get(name)!r} here, {there.get(name)!r} there"
        for name in names
        if here.get(name) != there.get(name)
    ]
    ours, theirs = ({each["name"]: each for each in one.get("inputs", ())} for one in (here, there))
    for name in sorted({*ours, *theirs}):
        if ours.get(name) != theirs.get(name):
            weight, sentence = _compared(ours.get(name), theirs.get(name))
            values += weight
            sentences.append(f"input '{name}': {sentence}")
    return (float(here.get("model") != there.get("model")), float(len(sentences)), values), sentences


def _compared(here: Document | None, there: Document | None) -> tuple[float, str]:
    if here is None or there is None:
        return 1.0, "only there" if here is None else "only here"
    if (here["datatype"], here["shape"]) != (there["datatype"], there["shape"]):
        return 2.0, f"{here['datatype']} {here['shape']} here, {there['datatype']} {there['shape']} there"
    ours, theirs = (decode(_read_tensor(each), model="") for each in (here, there))
    places = np.argwhere(ours != theirs)
    if not len(places):  # other bits of equal values: -0.0, or another NaN
        return 0.5, "the same values of other bits"
    first = tuple(places[0])
    share = len(places) / max(ours.size, 1)
    where = f"{len(places)} of {ours.size} values, the first at {[int(index) for index in first]}"
    return share, f"{where}: {_shown(ours[first])} here, {_shown(theirs[first])} there"


def _shown(value: Any) -> str:
    return repr(value.item() if isinstance(value, np.generic) else value)
