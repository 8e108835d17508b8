# SPDX-License-Identifier: Apache-2.0
"""One long-running Triton that is asked for the bare verdict on a model, without any check of ours before it."""

import http.client
import json
import time
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import quote

from repo_tool.releases import release
from repo_tool.triton.installation import find_installation
from repo_tool.triton.options import Ports, ServerOptions
from repo_tool.triton.ports import LOOPBACK, free_ports
from repo_tool.triton.process import KEY_HEADER, ServerProcess
from repo_tool.triton.refusals import cleaned, poll_failure

LOADS, REFUSES, CRASHES, HANGS = "loads", "refuses", "crashes", "hangs"


@dataclass(frozen=True)
class Verdict:
    """What Triton did with a model, and its own words where it refused."""

    outcome: str
    words: str = ""

    @property
    def loads(self):
        return self.outcome == LOADS


class UnansweredError(Exception):
    """The server is gone, or takes too long."""

    def __init__(self, *, is_slow):
        super().__init__("too slow" if is_slow else "gone")
        self.is_slow = is_slow


KEY = "opens-nothing"  # the options of these servers lock no interface that is used


class VerdictServer:
    """Serves ``repository``; models come and go in it."""

    def __init__(self, repository, *, backends, load_timeout_s=20.0, release_name="24.10"):
        limits = release(release_name)
        self.repository = repository
        self.load_timeout_s = load_timeout_s
        self.starts = 0
        self._options = ServerOptions(
            backends=backends, max_opset=limits.max_onnx_opset, max_ir_version=limits.max_onnx_ir, graceful_stop_s=0
        )
        self._process = None
        self._port = 0

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        http_port, grpc_port, metrics_port = free_ports(3)
        ports = Ports(http=http_port, grpc=grpc_port, metrics=metrics_port)
        installation = find_installation()
        self._process = ServerProcess(installation, self.repository, self._options, ports, control_key=KEY)
        self._port, self._grpc_port = http_port, grpc_port
        self.starts += 1
        self._wait_until_ready()

    def stop(self):
        if self._process is not None:
            self._process.stop(grace_s=0)
            self._process = None

    def restart(self):
        self.stop()
        self.start()

    @property
    def pid(self):
        return self._process.server_pid()

    def log_end(self):
        return self._process.log.end

    def verdict(self, model):
        """Load ``model`` and say what became of it; it stays loaded."""
        log_end = self._process.log.end
        if quote(model) != model:
            return self._verdict_over_grpc(model)
        try:
            status, answer = self._post(f"/v2/repository/models/{model}/load")
            # A load that finds nothing changed answers 200 whatever became of the model before, so ask the model.
            if status == 200 and self._send("GET", f"/v2/models/{model}/ready")[0] == 200:
                return Verdict(LOADS)
        except UnansweredError as error:
            if error.is_slow and self._process.is_running():
                return Verdict(HANGS, f"no answer within {self.load_timeout_s:g} s")
            self._process.wait(2.0)
            return Verdict(CRASHES, self._process.log.last_words(8))
        words = _error(answer)
        if "failed to poll" in words:
            words = poll_failure(self._process.log.lines(log_end), model) or words
        return Verdict(REFUSES, cleaned(words))

    def unload(self, model):
        """Ask Triton to let go of ``model``, loaded or not."""
        with suppress(UnansweredError):
            self._post(f"/v2/repository/models/{quote(model)}/unload")

    def _verdict_over_grpc(self, model):
        """For names that Triton does not read in a path: it leaves percent signs as they are."""
        from tritonclient.grpc import InferenceServerClient
        from tritonclient.utils import InferenceServerException

        log_end = self._process.log.end
        with InferenceServerClient(f"{LOOPBACK}:{self._grpc_port}") as client:
            try:
                client.load_model(model, client_timeout=self.load_timeout_s)
                if client.admin.is_model_ready(model):
                    client.unload_model(model)
                    return Verdict(LOADS)
                words = "it answered and is not ready"
            except InferenceServerException as error:
                words = error.message()
        if not self._process.is_running():
            return Verdict(CRASHES, self._process.log.last_words(8))
        if "failed to poll" in words:
            words = poll_failure(self._process.log.lines(log_end), model) or words
        return Verdict(REFUSES, cleaned(words))

    def is_running(self):
        return self._process is not None and self._process.is_running()

    def _wait_until_ready(self):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with suppress(UnansweredError):
                if self._send("GET", "/v2/health/ready")[0] == 200:
                    return
            time.sleep(0.02)  # between two looks of a poll with a deadline
        raise RuntimeError(f"Triton does not start: {self._process.log.last_words()}")

    def _post(self, path):
        return self._send("POST", path)

    def _send(self, method, path):
        connection = http.client.HTTPConnection(LOOPBACK, self._port, timeout=self.load_timeout_s)
        try:
            connection.request(method, path, headers={KEY_HEADER: KEY})
            response = connection.getresponse()
            return response.status, response.read()
        except TimeoutError as error:
            raise UnansweredError(is_slow=True) from error
        except (OSError, http.client.HTTPException) as error:
            raise UnansweredError(is_slow=False) from error
        finally:
            connection.close()


def _error(answer):
    try:
        return str(json.loads(answer)["error"])
    except (ValueError, KeyError, TypeError):
        return answer.decode("utf-8", errors="replace") or "it answered 200 and is not ready"
