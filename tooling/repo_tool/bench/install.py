# SPDX-License-Identifier: Apache-2.0
"""perf_analyzer on this machine: the one that was named, the one in the cache, or one fetched by pip.

NVIDIA ships it inside the ``tritonclient`` wheels. 2.51.0 is the newest that runs on glibc 2.36; later ones need 2.38.
"""

__all__ = ["VERSION", "PerfAnalyzer", "find_or_install"]

import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from repo_tool.errors import EnvironmentUnfitError

VERSION = "2.51.0"
ENVIRONMENT_VARIABLE = "REPO_TOOL_PERF_ANALYZER"
_REQUIREMENT = f"tritonclient=={VERSION}"
_PLATFORM = "manylinux1_x86_64"
_WHEEL_SHA256 = "c485bb0123bdf310f90bc8b03d3489b28df2ffed55b30c7eee0b795b48113d52"
_MEMBER = f"tritonclient-{VERSION}.data/data/bin/perf_analyzer"
_BYPASS = f"install perf_analyzer yourself and name it with --perf-analyzer PATH or {ENVIRONMENT_VARIABLE}"

# perf_analyzer links against the CUDA runtime and libb64 even to measure a CPU server. These distributions carry them,
# under names with a hash in it (auditwheel) or under their own.
_LIBRARY_FOLDERS = {"nvidia-pytriton": "nvidia_pytriton.libs", "nvidia-cuda-runtime-cu12": "nvidia/cuda_runtime/lib"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PerfAnalyzer:
    """A perf_analyzer that was started once and answered."""

    path: Path
    version: str
    libraries: Path | None = None  # a folder to search before the system's; None for one that needs no help

    def environment(self) -> dict[str, str]:
        """The variables to start it with: ours, with its own libraries first."""
        return _environment(self.libraries)


def find_or_install(named: Path | None = None) -> PerfAnalyzer:
    """The perf_analyzer at ``named`` or in ``REPO_TOOL_PERF_ANALYZER``; else ours, fetched (14 MB) the first time.

    Raises:
        EnvironmentUnfitError: it cannot be fetched, or does not start here.
    """
    choice = named or os.environ.get(ENVIRONMENT_VARIABLE)
    if choice:
        return _started(Path(choice), libraries=None)
    home = cache_folder()
    if not (home / "bin/perf_analyzer").is_file():
        _install(home)
    return _started(home / "bin/perf_analyzer", libraries=home / "lib")


def cache_folder() -> Path:
    """Where ours lives: below ``XDG_CACHE_HOME``, or ``~/.cache``."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "repo-tool" / "perf_analyzer" / VERSION


def _started(path: Path, *, libraries: Path | None) -> PerfAnalyzer:
    try:
        answer = subprocess.run(  # noqa: S603 - the program is the one asked for, and no shell reads the arguments
            [str(path), "--version"],
            env=_environment(libraries),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvironmentUnfitError(
            f"perf_analyzer at '{path}' does not start", cause=str(error), next_step=_BYPASS
        ) from error
    words = (answer.stdout + answer.stderr).strip()  # its version goes to stderr
    found = re.search(r"Perf Analyzer Version (\S+)", words)
    if found is None:
        cause = words.partition("\n")[0] or f"it left with exit code {answer.returncode}"
        raise EnvironmentUnfitError(f"'{path}' is no perf_analyzer that runs here", cause=cause, next_step=_BYPASS)
    return PerfAnalyzer(path=path, version=found[1], libraries=libraries)


def _environment(libraries: Path | None) -> dict[str, str]:
    if libraries is None:
        return dict(os.environ)
    paths = [str(libraries), os.environ.get("LD_LIBRARY_PATH", "")]
    return os.environ | {"LD_LIBRARY_PATH": ":".join(path for path in paths if path)}


def _install(home: Path) -> None:
    """Build ``home`` beside its place and rename it in, so that two processes may do so at once."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise EnvironmentUnfitError(
            f"there is no perf_analyzer for {sys.platform} on {platform.machine()}",
            cause="NVIDIA's wheels hold one for Linux on x86_64",
            next_step=_BYPASS,
        )
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{VERSION}-", dir=home.parent) as workplace:
            _move_unless_there(_built_in(Path(workplace)), home)
    except OSError as error:
        raise EnvironmentUnfitError(
            f"perf_analyzer cannot be installed in '{home}'",
            cause=str(error),
            next_step="free that place, or choose another with XDG_CACHE_HOME",
        ) from error


def _move_unless_there(built: Path, home: Path) -> None:
    try:
        built.rename(home)
    except OSError:
        if not (home / "bin/perf_analyzer").is_file():  # otherwise another process was first, with the same files
            raise


def _built_in(workplace: Path) -> Path:
    wheel = _fetch(workplace)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if digest != _WHEEL_SHA256:
        raise EnvironmentUnfitError(
            f"'{wheel.name}' is not the file that NVIDIA published",
            cause=f"its SHA-256 is {digest}, expected {_WHEEL_SHA256}",
            next_step=f"check the package index that pip is set to, or {_BYPASS}",
        )
    built = workplace / "built"
    binary = _unpacked(wheel, built)
    _complete_libraries(binary, built / "lib")
    facts = {"requirement": _REQUIREMENT, "wheel": wheel.name, "wheel_sha256": digest}
    (built / "install.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return built


def _fetch(folder: Path) -> Path:
    options = ["--no-deps", "--only-binary=:all:", "--platform", _PLATFORM, "--dest", str(folder)]
    quiet = ["--quiet", "--no-input", "--disable-pip-version-check"]
    answer = subprocess.run(  # noqa: S603 - our own interpreter and fixed words
        [sys.executable, "-m", "pip", "download", *quiet, *options, _REQUIREMENT],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    wheel = next(folder.glob("*.whl"), None)
    if answer.returncode != 0 or wheel is None:
        raise EnvironmentUnfitError(
            f"perf_analyzer could not be fetched: pip did not bring {_REQUIREMENT}",
            cause=_last_lines(answer.stderr, most=2),
            next_step=f"check the network and that 'python -m pip' works, or {_BYPASS}",
        )
    return wheel


def _last_lines(text: str, *, most: int) -> str:
    return "; ".join(line.strip() for line in text.strip().splitlines()[-most:])


def _unpacked(wheel: Path, home: Path) -> Path:
    binary = home / "bin/perf_analyzer"
    binary.parent.mkdir(parents=True)
    (home / "lib").mkdir()
    with zipfile.ZipFile(wheel) as archive, archive.open(_MEMBER) as member, binary.open("wb") as target:
        shutil.copyfileobj(member, target)
    binary.chmod(0o755)
    return binary


def _complete_libraries(binary: Path, folder: Path) -> None:
    """Copy into ``folder`` what the system's loader does not find; copies outlive the environment they came from."""
    known = list(_carried_libraries())
    while missing := _missing_libraries(binary, folder):
        for name in missing:
            source = next((path for path in known if _stands_for(path.name, name)), None)
            if source is None:
                raise EnvironmentUnfitError(
                    f"perf_analyzer needs {name}, which this machine lacks",
                    cause="neither the system nor the wheel of nvidia-pytriton has it",
                    next_step=f"pip install 'triton-repo-tool[serve]', which brings that wheel, or {_BYPASS}",
                )
            shutil.copyfile(source, folder / name)


def _missing_libraries(binary: Path, folder: Path) -> list[str]:
    # With this variable the loader lists what it would load and leaves; it is what ldd does.
    answer = subprocess.run(  # noqa: S603 - the file just unpacked
        [str(binary)],
        env=_environment(folder) | {"LD_TRACE_LOADED_OBJECTS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = re.findall(r"^\s*(\S+) => not found$", answer.stdout, flags=re.MULTILINE)
    return sorted({name for name in found if not (folder / name).exists()})


def _carried_libraries() -> Iterator[Path]:
    for distribution, folder in _LIBRARY_FOLDERS.items():
        try:
            located = importlib.metadata.distribution(distribution).locate_file(folder)
        except importlib.metadata.PackageNotFoundError:
            continue
        yield from sorted(Path(str(located)).glob("*.so*"))


def _stands_for(file_name: str, soname: str) -> bool:
    """Whether ``libcudart-09529672.so.12.6.77`` can serve where ``libcudart.so.12`` is asked for."""
    stem, _, version = soname.partition(".so.")
    return re.fullmatch(rf"{re.escape(stem)}(-[0-9a-f]+)?\.so\.{re.escape(version)}(\.[0-9.]+)?", file_name) is not None
