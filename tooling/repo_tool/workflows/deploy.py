# SPDX-License-Identifier: Apache-2.0
"""Models rolled out to a server that somebody else started: any Triton with explicit model control."""

__all__ = ["DEFAULT_SERVER", "DeployRequest", "Deployed", "deploy"]

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repo_client import Client
from repo_tool.errors import RollOutError, ServerUnreachableError
from repo_tool.repository.layout import ModelRepository
from repo_tool.workflows.call_model import translating_client_errors
from repo_tool.workflows.own_server import FIRST_WORDS, with_grpc_names
from repo_tool.workflows.progress import Progress
from repo_tool.workflows.roll_out import RolledOut, RollOutRequest, roll_out

DEFAULT_SERVER = "grpc://127.0.0.1:8001"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployRequest:
    """Which models, and to which server."""

    models: tuple[str, ...]
    repository: Path
    server: str = DEFAULT_SERVER
    label: str | None = None  # points at each model's newest version once that is proven
    headers: Mapping[str, str] = field(default_factory=dict)  # e.g. the key of the server's restricted interfaces
    variant: str = ""  # the server's --model-config-name
    timeout_s: float = 60.0  # for the server to load a model


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """What came of each model; one that was refused keeps no other from being deployed."""

    server: str
    done: tuple[RolledOut, ...]
    refused: Mapping[str, RollOutError]

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for ``--json``."""
        return {
            "server": self.server,
            "deployed": [each.to_dict() for each in self.done],
            "refused": {name: error.to_dict() | {"restored": error.restored} for name, error in self.refused.items()},
        }


def deploy(request: DeployRequest, progress: Progress) -> Deployed:
    """Roll out each model to the server, one after the other.

    Raises:
        RepositoryError: the repository lacks one of the models, or the label is none.
        ServerUnreachableError: no server answers, and none has; one that goes away later is told with what was done.
        UserMistakeError: the address or a header cannot be sent.
    """
    repository = ModelRepository(request.repository)
    for model in request.models:
        repository.existing_model(model)
    done: list[RolledOut] = []
    refused: dict[str, RollOutError] = {}
    headers = with_grpc_names(request.headers)
    with (
        translating_client_errors(),
        Client(request.server, headers=headers, shared_memory="off", retries=FIRST_WORDS) as client,
    ):
        for model in dict.fromkeys(request.models):
            try:
                done.append(roll_out(_roll_out_request(request, model), client, progress))
            except RollOutError as error:
                refused[model] = error
            except ServerUnreachableError as error:
                if not done and not refused:
                    raise
                refused[model] = _nobody_answers(model, error)
    return Deployed(server=request.server, done=tuple(done), refused=refused)


def _nobody_answers(model: str, error: ServerUnreachableError) -> RollOutError:
    return RollOutError(
        f"'{model}' was not rolled out", cause=error.fact, next_step="deploy it when the server is back"
    )


def _roll_out_request(request: DeployRequest, model: str) -> RollOutRequest:
    return RollOutRequest(
        model=model,
        repository=request.repository,
        label=request.label,
        variant=request.variant,
        timeout_s=request.timeout_s,
    )
