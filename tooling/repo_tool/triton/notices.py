# SPDX-License-Identifier: Apache-2.0
"""Making a server say that it is not ready while it serves on.

With strict readiness Triton is ready while no model is refused. So it is asked to load a model that it has to refuse,
from a repository of our own beside the served one; no model of anybody else's is touched.
"""

__all__ = ["IS_LOADING", "say_loaded", "say_not_ready", "write_loading_notice"]

import base64
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from repo_tool.triton.control import ControlApi, ControlUnreachableError

IS_LOADING = "repo-tool-is-loading"
_STOPPING = "repo-tool-is-stopping"
# Once Triton has refused a version it counts it as not ready until that was loaded: so this is, in the end. An ONNX
# model of one node, y = Identity(x), as onnx.helper writes it.
_IDENTITY = base64.b64decode(
    "CAcSADo3ChAKAXgSAXkiCElkZW50aXR5EgFnWg8KAXgSCgoICAESBAoCCAFiDwoBeRIKCggIARIECgIIAUIECgAQDQ=="
)
_TENSOR = {"data_type": "TYPE_FP32", "dims": [1]}
_LOADABLE = {
    "backend": "onnxruntime",
    "input": [{"name": "x", **_TENSOR}],
    "output": [{"name": "y", **_TENSOR}],
    "instance_group": [{"kind": "KIND_CPU", "count": 1}],
}


def say_not_ready(notices: Path, address: str, headers: Mapping[str, str], *, timeout_s: float) -> None:
    """Let ``/v2/health/ready`` be 400 from now on; ``notices`` is a repository of the server, ``address`` HTTP's.

    A server that does not answer within ``timeout_s`` seconds is not ready anyway.
    """
    _write(notices, _STOPPING)
    with suppress(ControlUnreachableError):
        ControlApi(address, headers=headers, timeout_s=timeout_s).post(f"/v2/repository/models/{_STOPPING}/load")


def write_loading_notice(notices: Path) -> None:
    """What a server has to refuse that is started with ``--load-model`` of it: it is never ready at first."""
    _write(notices, IS_LOADING)
    (notices / IS_LOADING / "1").mkdir()


def say_loaded(api: ControlApi) -> bool:
    """Let the server be ready that was started with the notice, as far as its models are; whether it took that.

    Raises:
        ControlUnreachableError: it does not answer.
    """
    model = base64.b64encode(_IDENTITY).decode()
    parameters = {"config": json.dumps({"name": IS_LOADING, **_LOADABLE}), "file:1/model.onnx": model}
    loaded = api.post(f"/v2/repository/models/{IS_LOADING}/load", body=json.dumps({"parameters": parameters}))
    unloaded = api.post(f"/v2/repository/models/{IS_LOADING}/unload")
    return loaded.status == unloaded.status == 200


def _write(notices: Path, name: str) -> None:
    (notices / name).mkdir(exist_ok=True)
    (notices / name / "config.pbtxt").write_text(f'backend: "{name}"\n', encoding="utf-8")
