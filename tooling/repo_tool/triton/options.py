# SPDX-License-Identifier: Apache-2.0
"""What a server is started with, and what becomes of each model it loads."""

__all__ = ["LoadOutcome", "Ports", "ServerOptions"]

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repo_tool.errors import RepoToolError
from repo_tool.triton.ports import LOOPBACK


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """How a server is started; a port of 0 lets us choose a free one."""

    # Where HTTP and gRPC listen. Metrics stay on the loopback interface.
    host: str = LOOPBACK
    # Whether a Triton with published vulnerabilities may listen where other machines reach it.
    accept_known_cves: bool = False
    http_port: int = 0
    grpc_port: int = 0
    metrics_port: int = 0
    log_verbose: int = 0
    start_timeout_s: float = 30.0
    load_timeout_s: float = 600.0
    graceful_stop_s: float = 3.0  # for requests in flight; 0 kills at once, which is right when nobody else is served
    # How long the server says that it is not ready before it takes no more connections, where any are open: what asks
    # for its readiness now and then sends its requests elsewhere meanwhile. None: a thirtieth of ``graceful_stop_s``.
    notice_s: float | None = None
    max_opset: int | None = None  # the newest ai.onnx opset that the release loads; None: what this ONNX Runtime loads
    max_ir_version: int | None = None
    # Which file of configs/ is read in place of config.pbtxt; where a model lacks it, Triton takes config.pbtxt.
    model_config_name: str = ""
    beside: tuple[Path, ...] = ()  # further repositories, whose models have other names
    response_cache_bytes: int = 0  # 0: models that ask for a response cache are refused
    # Off where people browse, any web page can send such requests to this machine, and where other machines reach the
    # server: a load may bring its own code. Over HTTP and gRPC; the key of ``control_headers`` opens it all the same.
    open_model_control: bool = True
    # Whether clients may have the server open memory that they share with it. Whoever reaches the server can then end
    # it: a region that is cut short under the server is a fault in the server's process, not in the client's.
    shared_memory: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)  # added to the scrubbed one
    # Folders of further backends, by name: what lies in them joins ours of that name, and a library goes before ours.
    backends: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOutcome:
    """What became of one model directory."""

    model: str
    versions: tuple[str, ...]
    seconds: float
    refusal: RepoToolError | None = None
    is_loading: bool = False  # it had not ended when the others had; ``seconds`` is how long it had been at it

    @property
    def is_ready(self) -> bool:
        """Whether the model serves."""
        return self.refusal is None and not self.is_loading

    @property
    def state(self) -> str:
        """Triton's word for it."""
        return "LOADING" if self.is_loading else "READY" if self.is_ready else "UNAVAILABLE"

    @property
    def reason(self) -> str:
        """Why it does not serve; empty when it does."""
        if self.is_loading:
            return f"it is still loading after {self.seconds:.0f} s"
        return (self.refusal.cause or self.refusal.fact) if self.refusal else ""

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for ``--json``."""
        return {
            "model": self.model,
            "versions": list(self.versions),
            "state": self.state,
            "seconds": round(self.seconds, 3),
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The ports that one server listens on."""

    http: int
    grpc: int
    metrics: int
