# SPDX-License-Identifier: Apache-2.0
"""Steps of a person's own: ``use: my_steps:Sharpen`` is the class ``Sharpen`` in ``my_steps.py`` beside the pipeline.

They keep the contract of the shipped ones (`repo_tool.pipelines.steps`), but for ``graph``: they are never merged into
a model. Their code runs in a worker process behind walls, never in the caller's own, and later in the generated model,
beside which the file is copied; alone, so it imports nothing that lies beside it.
"""

__all__ = ["foreign_kind", "refuse_missing_packages"]

import ast
import dataclasses
import inspect
import json
import keyword
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Annotated, Any

import pydantic

from repo_tool.datatypes import DataType
from repo_tool.errors import PipelineError, SampleError
from repo_tool.image_packages import IMAGE_PACKAGES
from repo_tool.pipelines._step_worker import decoded, encoded
from repo_tool.pipelines.beside import paths_in, refuse_elsewhere
from repo_tool.pipelines.catalogue import StepKind, step_names
from repo_tool.repository.provenance import digest_of
from repo_tool.samples import Array, Sample, read_published_sample, write_published_sample
from repo_tool.worker_process import left_by_worker, run_worker, what_it_died_of

_WORKER = Path(__file__).with_name("_step_worker.py")
_TIMEOUT_S, _RUN_TIMEOUT_S = 60, 1800
_UNREADABLE = "it left no answer that reads"
_LEFT_OUT = object()  # in place of a parameter that has a default, until the worker has told it
_TAKEN = frozenset({"outputs", "run", "input_names", "_input_names", "packages", "heavy"})  # by the class made here
_Wires = Mapping[str, tuple[str, tuple[int, ...]]]


def foreign_kind(use: str, folder: Path) -> StepKind:
    """The step called ``module:Class`` whose module lies in ``folder``.

    Its class here has the same parameters and asks a worker for everything else.

    Raises:
        PipelineError: there is no such class, it is no step, or its file needs others that would not go along.
    """
    name = use.partition(":")[2]
    path = _source(use, folder)
    if name not in _classes(path):
        raise PipelineError(
            f"'{path}' has no class '{name}'",
            cause=f"it has {', '.join(_classes(path)) or 'none'}",
            next_step="write the name of the class after the colon",
        )
    _refuse_neighbours(path)
    step = _Asked(use=use, path=path.absolute(), name=name)
    return StepKind(use, _class_for(step, step.ask("describe")), path)


def _source(use: str, folder: Path) -> Path:
    file = f"{use.partition(':')[0].removesuffix('.py').replace('.', '/')}.py"
    refuse_elsewhere(file, folder, f"step '{use}'")
    path = folder / file
    if not path.is_file():
        raise PipelineError(
            f"there is no file '{path}' for step '{use}'",
            cause="a step of your own is a class in a Python file beside the pipeline file",
            next_step="write `use: file:Class`, without .py",
        )
    if path.stem in step_names():
        raise PipelineError(
            f"'{path.name}' is called like the shipped step '{path.stem}'",
            cause="both would be copied to one place",
            next_step="call your file otherwise",
        )
    return path


# --- what it imports -------------------------------------------------------------------------------------------------


def refuse_missing_packages(kind: StepKind) -> None:
    """For a step of a person's own that is to run in the image without an environment that its pipeline brings.

    Raises:
        PipelineError: it imports what the image does not have.
    """
    known = sys.stdlib_module_names | IMAGE_PACKAGES.keys() | {"numpy"}
    for name, line in _imports(_tree(kind.source)):
        if name not in known:
            raise PipelineError(
                f"step '{kind.name}' imports '{name}', which the image does not have ('{kind.source}', line {line})",
                cause=f"it has Python's own modules, numpy, {', '.join(sorted(IMAGE_PACKAGES))}",
                next_step="do without it, or bring an environment: `execution_env: environment.tar.gz`",
            )


def _refuse_neighbours(path: Path) -> None:
    for name, line in _imports(_tree(path)):
        is_beside = (path.parent / f"{name}.py").is_file() or (path.parent / name / "__init__.py").is_file()
        if not name or name == "repo_tool" or is_beside:
            what = f"'{name}'" if name else "from its own package"
            raise PipelineError(
                f"'{path}', line {line}, imports {what}",
                cause="the file of a step is copied beside the generated model alone",
                next_step="keep all that the step needs in its file",
            )


def _imports(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """The packages that it imports anywhere, "" for its own, with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "" if node.level else (node.module or "").partition(".")[0], node.lineno


def _classes(path: Path) -> tuple[str, ...]:
    return tuple(node.name for node in _tree(path).body if isinstance(node, ast.ClassDef))


def _tree(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise PipelineError(
            f"'{path}' is not Python that can be read", cause=str(error), next_step=f"run it: python {path.name}"
        ) from error


# --- the class that stands for it ------------------------------------------------------------------------------------


def _class_for(step: "_Asked", told: "_Told") -> type[Any]:
    """A dataclass with the fields of the step's own, whose methods ask the worker."""

    def schema(cls: type[Any], core_schema: Any, handler: Any) -> dict[str, Any]:
        return dict(told.schema)

    body = {
        "__doc__": told.about,
        "__get_pydantic_json_schema__": classmethod(schema),
        "packages": tuple(told.packages),
        "heavy": told.heavy,
        **_making(step, told),
        **_working(step, told),
    }
    fields = [
        (name, Any) if required else (name, Any, dataclasses.field(default=_LEFT_OUT))
        for name, required in told.fields.items()
    ]
    return dataclasses.make_dataclass(step.name, fields, namespace=body, frozen=True, kw_only=True)


def _making(step: "_Asked", told: "_Told") -> dict[str, Any]:
    def check(self: Any) -> None:
        given = _given(self)
        made = step.ask("make", parameters=_encoded(given))
        values = _decoded(made.parameters)
        step.refuse_other_files(set(paths_in(values)) - {path.absolute() for path in paths_in(given)})
        step.refuse_other_parameters(set(told.fields) ^ set(values))
        for name in told.fields:
            object.__setattr__(self, name, values[name])
        object.__setattr__(self, "_input_names", made.input_names)

    def input_names(self: Any) -> tuple[str, ...]:
        return tuple(self._input_names or told.inputs)

    return {"__post_init__": check, "input_names": input_names}


def _working(step: "_Asked", told: "_Told") -> dict[str, Any]:
    def outputs(self: Any, inputs: _Wires) -> dict[str, tuple[str, tuple[int, ...]]]:
        wires = {name: [datatype, list(dims)] for name, (datatype, dims) in inputs.items()}
        found = step.ask("outputs", parameters=_encoded(_given(self)), wires=wires)
        for name, (datatype, _) in found.items():
            if datatype not in DataType.__members__:
                raise ValueError(f"it gives '{name}' as {datatype}; datatypes are {', '.join(DataType.__members__)}")
        return {name: (datatype, tuple(dims)) for name, (datatype, dims) in found.items()}

    def run(self: Any, **tensors: Any) -> dict[str, Any]:
        return step.run(_encoded(_given(self)), tensors)

    kinds = inspect.Parameter
    named = [kinds("self", kinds.POSITIONAL_ONLY), *(kinds(name, kinds.KEYWORD_ONLY) for name in told.inputs)]
    run.__signature__ = inspect.Signature(named)  # type: ignore[attr-defined]  # which inspect.signature reads
    return {"outputs": outputs, "run": run}


def _given(made: Any) -> dict[str, Any]:
    values = {field.name: getattr(made, field.name) for field in dataclasses.fields(made)}
    return {name: value for name, value in values.items() if value is not _LEFT_OUT}


def _encoded(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {name: encoded(value) for name, value in parameters.items()}


def _decoded(parameters: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return {name: decoded(value) for name, value in parameters.items()}
    except RecursionError as error:
        raise ValueError("its parameters lie in one another without end") from error


# --- asking ----------------------------------------------------------------------------------------------------------


def _parameter_name(name: str) -> str:
    if not name.isidentifier() or keyword.iskeyword(name) or name in _TAKEN or name.startswith("__"):
        raise ValueError(f"{name[:100]!r} is no name of a parameter")
    return name


def _input_name(name: str) -> str:
    if not name.isidentifier() or keyword.iskeyword(name) or name == "self":
        raise ValueError(f"{name[:100]!r} is no name of an input")
    return name


def _each_once(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise ValueError("a name stands there twice")
    return names


_InputName = Annotated[str, pydantic.AfterValidator(_input_name)]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """What a step's class says of itself; ``fields``: whether each must be given."""

    fields: dict[Annotated[str, pydantic.AfterValidator(_parameter_name)], bool]
    schema: dict[str, Any]
    inputs: Annotated[list[_InputName], pydantic.AfterValidator(_each_once)]
    packages: list[str]
    heavy: bool
    about: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    parameters: dict[str, Any]
    input_names: list[str] | None


_ANSWERS: Mapping[str, pydantic.TypeAdapter[Any]] = {
    "describe": pydantic.TypeAdapter(_Told),
    "make": pydantic.TypeAdapter(_Made),
    "outputs": pydantic.TypeAdapter(dict[str, tuple[str, list[Annotated[int, pydantic.Field(ge=-1)]]]]),
    "run": pydantic.TypeAdapter(dict[str, int | None]),
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A class in a file, and the questions to it, each answered by a process of its own."""

    use: str
    path: Path
    name: str

    def ask(self, question: str, **more: Any) -> Any:
        """The answer; the same question to the same file is asked once.

        Raises:
            PipelineError: the step refuses, fails, or its process dies.
            ValueError: the step refuses its inputs.
        """
        text = json.dumps({"file": str(self.path), "class": self.name, "question": question, **more}, sort_keys=True)
        parameters = [decoded(value) for value in more.get("parameters", {}).values()]
        files = [self.path, *paths_in(parameters)]
        answer = _asked(text, tuple(digest_of(path) for path in files if path.is_file()))
        if "refused" not in answer:
            return self._answer(question, answer)
        if question == "outputs":
            raise ValueError(answer["refused"])
        fact = f"the parameters of step '{self.use}' do not fit" if question == "make" else f"'{self.use}' is no step"
        next_step = f"write class {self.name} as `docs/pipelines.md` shows one, under 'Steps of your own'"
        if question == "make":
            next_step = f"see what '{self.path.name}' says of its parameters"
        raise PipelineError(fact, cause=answer["refused"], next_step=next_step)

    def refuse_other_files(self, files: set[Path]) -> None:
        """What it names is copied by us, who may read more than it may.

        Raises:
            PipelineError: a file that its pipeline did not give it and that does not lie beside it.
        """
        for path in files:
            if not path.resolve().is_relative_to(self.path.parent.resolve()) or not path.is_file():
                raise PipelineError(
                    f"step '{self.use}' makes '{path}' of its parameters",
                    cause="it is given files by its pipeline file, and no others are copied",
                    next_step="name the file in the pipeline file",
                )

    def refuse_other_parameters(self, names: set[str]) -> None:
        """Raises PipelineError: it has made itself with other parameters than it told."""
        if names:
            raise self._odd_answer(f"its parameters differ from those it told: {', '.join(sorted(names))}")

    def run(self, parameters: Mapping[str, Any], tensors: Mapping[str, Any]) -> dict[str, Any]:
        """What the step makes of rows.

        Raises:
            PipelineError: the step fails otherwise than it may, or its process dies.
            ValueError: the step refuses a row.
        """
        job = {"file": str(self.path), "class": self.name, "question": "run", "parameters": parameters}
        job["rows"] = {name: len(rows) if isinstance(rows, list) else None for name, rows in tensors.items()}
        with TemporaryDirectory(prefix="repo-tool-step-") as folder:
            write_published_sample(Path(folder) / "inputs.npz", Sample(inputs=_flat(tensors)), compress=False)
            answer = _one_answer(job, Path(folder), timeout_s=_RUN_TIMEOUT_S)
            if "refused" in answer:
                raise ValueError(answer["refused"])
            rows = self._answer("run", answer)
            return self._results(Path(folder) / "outputs.npz", rows)

    def _results(self, path: Path, rows: Mapping[str, int | None]) -> dict[str, Any]:
        """What the worker left of each output: an array, or the arrays of so many rows."""
        if path.is_symlink() or not path.is_file():
            raise self._odd_answer(f"'{path.name}' is no regular file")
        try:
            stored = read_published_sample(path).outputs
            return {
                name: stored[name] if count is None else [stored[f"{name}/{row}"] for row in range(count)]
                for name, count in rows.items()
            }
        except (SampleError, KeyError, ValueError) as error:
            raise self._odd_answer(str(error)) from error

    def _odd_answer(self, cause: str) -> PipelineError:
        return PipelineError(f"step '{self.use}' leaves no answer that reads", cause=cause, next_step="do not use it")

    def _answer(self, question: str, answer: Mapping[str, Any]) -> Any:
        if "answer" in answer:
            # Code in the file may have written the answer.
            try:
                return _ANSWERS[question].validate_python(answer["answer"])
            except pydantic.ValidationError as error:
                raise self._odd_answer(str(error)) from error
        raise PipelineError(
            f"step '{self.use}' fails in '{self.path.name}'",
            cause=answer["failed"],
            next_step="mend it; a row that it cannot process is a ValueError that starts with `row N:`",
        )


def _flat(tensors: Mapping[str, Any]) -> dict[str, Array]:
    found: dict[str, Array] = {}
    for name, rows in tensors.items():
        found |= {f"{name}/{row}": each for row, each in enumerate(rows)} if isinstance(rows, list) else {name: rows}
    return found


@lru_cache(maxsize=256)
def _asked(question: str, digests: tuple[str, ...]) -> Mapping[str, Any]:
    """``digests`` are the files', so that it is asked again once they have changed."""
    with TemporaryDirectory(prefix="repo-tool-step-") as folder:
        return _one_answer(json.loads(question), Path(folder), timeout_s=_TIMEOUT_S)


def _one_answer(job: Mapping[str, Any], folder: Path, *, timeout_s: float) -> Mapping[str, Any]:
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    with TemporaryFile() as log:
        try:
            status = run_worker([str(_WORKER)], folder, log, timeout_s=timeout_s)
        except TimeoutError as error:
            return {"failed": str(error)}
        text = left_by_worker(folder / "answer.json")
        if text is None:
            return {"failed": what_it_died_of(status, log)}
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        return {"failed": _UNREADABLE}
    return answer if isinstance(answer, dict) else {"failed": _UNREADABLE}
