# SPDX-License-Identifier: Apache-2.0
"""A repository whose models tell their version, and a real Triton beside it that versions are rolled out to."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

import repo_client
from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.repository.publish import StagedModel, publish, staging
from repo_tool.samples import Sample, write_published_sample
from repo_tool.triton import EmbeddedServer, ServerOptions
from repo_tool.workflows.own_server import OwnServer
from repo_tool.workflows.progress import RecordedProgress
from repo_tool.workflows.roll_out import RolledOut, RollOutRequest, roll_out
from repo_tool.workflows.watch_repository import RepositoryEvent, Watcher
from support.open_loop import versioned_graph, with_provenance

_PATIENCE_S = 20.0
_ENSEMBLE = """name: "{name}"
platform: "ensemble"
max_batch_size: 8
input [ {{ name: "x" data_type: TYPE_FP32 dims: [ 4 ] }} ]
output [ {{ name: "y" data_type: TYPE_FP32 dims: [ 4 ] }} ]
ensemble_scheduling {{ step [ {{
  model_name: "{member}" model_version: {version}
  input_map {{ key: "x" value: "x" }} output_map {{ key: "y" value: "y" }}
}} ] }}
"""

_CALLER = """name: "{name}"
backend: "python"
max_batch_size: 8
input [ {{ name: "x" data_type: TYPE_FP32 dims: [ 4 ] }} ]
output [ {{ name: "y" data_type: TYPE_FP32 dims: [ 4 ] }} ]
instance_group [ {{ kind: KIND_CPU count: 1 }} ]
parameters {{ key: "pins" value {{ string_value: "{{\\"{member}\\": {version}}}" }} }}
version_policy {{ specific {{ versions: [ {version} ] }} }}
"""
_CALLS = """# SPDX-License-Identifier: Apache-2.0
import json

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        parameters = json.loads(args["model_config"])["parameters"]
        ((self.member, self.version),) = json.loads(parameters["pins"]["string_value"]).items()

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        x = pb_utils.get_input_tensor_by_name(request, "x")
        asked = pb_utils.InferenceRequest(
            model_name=self.member, model_version=self.version, requested_output_names=["y"], inputs=[x]
        )
        y = pb_utils.get_output_tensor_by_name(asked.exec(), "y")
        return pb_utils.InferenceResponse([pb_utils.Tensor("y", y.as_numpy())])
"""


class Followed:
    """What a watcher told."""

    def __init__(self) -> None:
        self.events: list[RepositoryEvent] = []

    def until(self, kind: str, model: str, *, times: int = 1) -> RepositoryEvent:
        """The latest event of that kind, once there are so many."""
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            found = [event for event in self.events if (event.kind, event.model) == (kind, model)]
            if len(found) >= times:
                return found[-1]
            time.sleep(0.01)  # between two looks of a poll with a deadline
        raise AssertionError(f"no {kind} of {model}: {[event.words for event in self.events]}")


@dataclass(frozen=True)
class Live:
    """A repository, and a server that reads it."""

    repository: ModelRepository
    server: EmbeddedServer

    @property
    def own(self) -> OwnServer:
        return OwnServer(self.server)

    def roll_out(self, model: str, **options: object) -> RolledOut:
        told = {"explain": self.own.explain, "trials": self.own.trials, **options}
        request = RollOutRequest(model=model, repository=self.repository.path, **told)
        with self.own.connect() as client:
            return roll_out(request, client, RecordedProgress())

    @contextmanager
    def following(self, **options: object) -> Iterator[tuple[Followed, Watcher]]:
        """A watcher over it, until the block ends, and what it tells."""
        told, own = Followed(), self.own
        with Watcher(
            self.repository.path,
            own.connect,
            on_event=told.events.append,
            explain=own.explain,
            trials=own.trials,
            **options,
        ) as watcher:
            yield told, watcher

    def versions(self, model: str) -> list[int]:
        with self.own.connect() as client:
            return sorted(
                int(entry.version)
                for entry in client.admin.repository_index()
                if entry.name == model and entry.is_ready
            )

    def until_states(self, model: str, wanted: Mapping[str, str]) -> None:
        """Return once the versions of a model are in these states."""
        found, deadline = {}, time.monotonic() + _PATIENCE_S
        with self.own.connect() as client:
            while time.monotonic() < deadline:
                found = {each.version: each.state for each in client.admin.repository_index() if each.name == model}
                if found == wanted:
                    return
                time.sleep(0.01)  # between two looks of a poll with a deadline
        raise AssertionError(f"{model} is {found}")

    def served(self, model: str) -> dict[str, str]:
        """The parameters of the configuration that serves."""
        with self.own.connect() as client:
            return dict(client.admin.config(model).parameters)

    def added(self, model: str, *, version: int | None = None) -> float:
        """What a model adds to its input: the version that answers."""
        with repo_client.Client(f"grpc://{self.server.grpc_url}") as client:
            answer = client.model(model, version=version).infer({"x": np.zeros((1, 4), np.float32)})
            return float(answer["y"][0, 0])

    def becomes_ready(self) -> bool:
        """Triton calls itself not ready while it unloads, which takes it about a second."""
        with self.own.connect() as client:
            client.admin.wait_until_ready(10)
        return True


@contextmanager
def live(repository: ModelRepository) -> Iterator[Live]:
    with EmbeddedServer(repository.path, ServerOptions(open_model_control=False, graceful_stop_s=0)) as server:
        server.load_all()
        yield Live(repository, server)


def publish_ensemble(repository: ModelRepository, name: str, version: int, *, member: str, published: int = 0) -> None:
    """An ensemble that asks for the same version of its member, and the sample of what version ``published`` adds."""
    _publish_over(repository, name, version, _ENSEMBLE, member=member, published=published or version)


def publish_caller(repository: ModelRepository, name: str, version: int, *, member: str, published: int = 0) -> None:
    """The same as a model that calls its member by itself."""
    files = {"model.py": _CALLS}
    _publish_over(repository, name, version, _CALLER, member=member, published=published or version, files=files)


def _publish_over(
    repository: ModelRepository,
    name: str,
    version: int,
    config: str,
    *,
    member: str,
    published: int,
    files: Mapping[str, str] = MappingProxyType({}),
) -> None:
    with staging(repository) as stage:
        directory = stage.repository.model(name)
        directory.version_path(version).mkdir(parents=True)
        for path, text in files.items():
            (directory.version_path(version) / path).write_text(text)
        directory.config_path.write_text(config.format(name=name, member=member, version=version))
        x = np.arange(12, dtype=np.float32).reshape(3, 4)
        sample = Sample(inputs={"x": x}, outputs={"y": x + np.float32(published)})
        write_published_sample(directory.sample_path(version), sample)
        with_provenance(directory, version)
        publish([StagedModel(directory=directory, version=version)], repository)


def publish_changed(repository: ModelRepository, name: str, version: int, *, files: dict[str, bytes]) -> None:
    """A version whose files are others than they should be, and recorded as they are."""
    with staging(repository) as stage:
        directory: ModelDirectory = stage.repository.model(name)
        place = directory.version_path(version)
        place.mkdir(parents=True)
        directory.config_path.write_bytes(repository.model(name).config_path.read_bytes())
        (place / "model.onnx").write_bytes(versioned_graph(version).SerializeToString())
        write_published_sample(
            directory.sample_path(version),
            Sample(inputs={"x": np.ones((3, 4), np.float32)}, outputs={"y": np.full((3, 4), 1 + version, np.float32)}),
        )
        for path, content in files.items():
            (directory.path / path).write_bytes(content)
        with_provenance(directory, version)
        publish([StagedModel(directory=directory, version=version)], repository)
