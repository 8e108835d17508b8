# SPDX-License-Identifier: Apache-2.0
"""Where the ``nvidia-pytriton`` wheel keeps its Triton, and the private folder that a server of ours runs from.

The wheel's own Python package is never imported: it starts services and costs a second.
"""

__all__ = ["Installation", "assemble_backends", "find_installation", "refuse_unfit_numpy"]

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from repo_tool.errors import EnvironmentUnfitError, needs_extra

BACKENDS = Path(__file__).parent / "backends"
# Compiled into the Python backend: the folder for unpacked environments, which a server that is killed leaves behind.
# The same length, below the server's working directory, it goes with the server's private folder.
_ENVIRONMENTS, _OWN_ENVIRONMENTS = b"/tmp/python_env_", b"../env/python_e_"
EMBEDDED_BACKENDS = ("onnxruntime", "pytorch", "sklearn", "tensorflow")


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """The files of one installed Triton."""

    server: Path
    libraries: Path
    python_backend: Path
    stub: Path
    caches: Path

    def library_path(self) -> str:
        """The ``LD_LIBRARY_PATH`` of the server and of its stubs: the wheel's libraries, then the running Python's."""
        folders = [str(self.libraries), str(_python_library_folder()), os.environ.get("LD_LIBRARY_PATH", "")]
        return os.pathsep.join(folder for folder in folders if folder)


def find_installation() -> Installation:
    """The Triton that this environment can run.

    Raises:
        MissingExtraError: the wheel is not installed.
        EnvironmentUnfitError: not Linux on x86-64, a Python without a stub, or numpy 2.
    """
    _refuse_other_platforms(platform.system(), platform.machine())
    package = _wheel_package()
    refuse_unfit_numpy(importlib.metadata.version("numpy"))
    root = package / "tritonserver"
    installation = Installation(
        server=root / "bin" / "tritonserver",
        libraries=package.parent / "nvidia_pytriton.libs",
        python_backend=root / "backends" / "python",
        stub=_stub(root / "python_backend_stubs"),
        caches=root / "caches",
    )
    _refuse_missing_libpython(installation)
    return installation


def refuse_unfit_numpy(version: str) -> None:
    """Refuse a numpy under which the stub of Triton 2.51 answers every request with empty tensors, without an error.

    Raises:
        EnvironmentUnfitError: numpy is 2 or newer.
    """
    if int(version.split(".", maxsplit=1)[0]) < 2:
        return
    raise EnvironmentUnfitError(
        f"the embedded Triton cannot run beside numpy {version}",
        cause="its Python stub was built for numpy 1; under numpy 2 it answers with empty tensors and no error",
        next_step="pip install 'numpy<2' in this environment (clients elsewhere are free to use numpy 2)",
    )


def assemble_backends(
    installation: Installation,
    folder: Path,
    settings: Mapping[str, Mapping[str, object]],
    *,
    further: Mapping[str, Path] | None = None,
) -> None:
    """Fill ``folder`` with Triton's Python backend and ours; ``settings`` are each backend's ``settings.json``.

    Everything that Triton opens is copied: it refuses links that lead out of its backend directory. So are the folders
    of ``further`` backends.
    """
    python = folder / "python"
    python.mkdir(parents=True)
    shutil.copy(installation.python_backend / "triton_python_backend_utils.py", python)
    library = (installation.python_backend / "libtriton_python.so").read_bytes()
    (python / "libtriton_python.so").write_bytes(library.replace(_ENVIRONMENTS, _OWN_ENVIRONMENTS))
    shutil.copy(installation.stub, python / "triton_python_backend_stub")
    for name in EMBEDDED_BACKENDS:
        _assemble_backend(name, folder / name, settings.get(name, {}))
    for name, source in (further or {}).items():
        shutil.copytree(source, folder / name, dirs_exist_ok=True)


def _assemble_backend(name: str, folder: Path, settings: Mapping[str, object]) -> None:
    folder.mkdir()
    for source in sorted([*(BACKENDS / "_shared").glob("*.py"), *(BACKENDS / name).glob("*.py")]):
        shutil.copy(source, folder / source.name)
    (folder / "settings.json").write_text(json.dumps(dict(settings)), encoding="utf-8")


def _refuse_other_platforms(system: str, machine: str) -> None:
    if (system, machine) == ("Linux", "x86_64"):
        return
    raise EnvironmentUnfitError(
        f"the embedded Triton does not run on {system} {machine}",
        cause="the nvidia-pytriton wheel is built for Linux on x86-64 only",
        next_step="serve from a Linux x86-64 machine, or use docker-compose.yml",
    )


def _wheel_package() -> Path:
    with needs_extra("serve"):
        spec = find_spec("pytriton")
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError("no Triton wheel", name="nvidia-pytriton")
        return Path(spec.origin).parent


def _stub(stubs: Path) -> Path:
    running = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = stubs / running / "triton_python_backend_stub"
    if stub.is_file():
        return stub
    known = sorted((entry.name for entry in stubs.iterdir()), key=lambda name: int(name.split(".")[1]))
    raise EnvironmentUnfitError(
        f"the embedded Triton has no stub for Python {running}",
        cause=f"the wheel brings stubs for Python {', '.join(known)}",
        next_step=f"create the environment with Python {known[-1]}",
    )


def _python_library_folder() -> Path | str:
    """Where the running interpreter's own ``libpython`` lies, so that the stub does not pick another build of it."""
    folder = Path(sysconfig.get_config_var("LIBDIR") or "")
    name = sysconfig.get_config_var("INSTSONAME") or ""
    return folder if name and (folder / name).is_file() else ""


def _refuse_missing_libpython(installation: Installation) -> None:
    """A Python without a shared library leaves the stub without an interpreter: ask the loader before Triton does."""
    if _python_library_folder():
        return
    environment = {"LD_LIBRARY_PATH": installation.library_path(), "LD_TRACE_LOADED_OBJECTS": "1"}
    listed = subprocess.run([installation.stub], env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - a file of the wheel
    missing = [line.split()[0] for line in listed.stdout.splitlines() if line.endswith("not found")]
    if missing:
        raise EnvironmentUnfitError(
            f"the embedded Triton's Python stub cannot start: {', '.join(missing)} not found",
            cause="this Python was built without its shared library",
            next_step="use a Python with libpython (a distribution's, uv's or conda's; pyenv: --enable-shared)",
        )
