# SPDX-License-Identifier: Apache-2.0
"""The machine under the server as ``doctor`` sees it: ports, shared memory, disks, limits, kernel, GPU."""

__all__ = [
    "examine_disks",
    "examine_gpu",
    "examine_kernel",
    "examine_limits",
    "examine_ports",
    "examine_shared_memory",
]

import ctypes
import os
import platform
import re
import resource
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from repo_tool.bench.machine import describe_machine
from repo_tool.errors import EnvironmentUnfitError, PortInUseError, RepositoryError, RepoToolError
from repo_tool.remotes.transfer import in_words
from repo_tool.repository.disk import exchange
from repo_tool.repository.layout import ModelRepository
from repo_tool.triton.ports import refuse_port_in_use
from repo_tool.workflows.examination import Finding, bad, doubtful, good

_PORTS = {"HTTP": 8000, "gRPC": 8001, "metrics": 8002}  # what ``serve`` takes by default
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where POSIX shared memory lives
_OF_A_SERVER = re.compile(r"repo-tool-(\d+)-[0-9a-f]{8}-")
_COPIES = Path("/tmp/folder??????")  # noqa: S108 - where Triton puts models from object stores, and files sent with a load
_LITTLE_SHARED = 128 << 20  # each instance of a model takes 1 MiB or more, and each large tensor its size
_LITTLE_DISK = 1 << 30
_LITTLE_MEMORY = 1 << 30
_FEW_FILES = 1024  # each connection is one
_LANDLOCK, _VERSION_OF_IT = 444, 1  # landlock_create_ruleset of linux/landlock.h, and its flag
_PIDFD_GETFD = 438  # of asm/unistd.h, the same on every machine


def examine_ports() -> Iterator[Finding]:
    """Whether ``serve`` gets the ports that it takes by default."""
    taken = []
    for purpose, port in _PORTS.items():
        try:
            refuse_port_in_use(port, purpose=purpose)
        except PortInUseError as error:
            taken.append(f"{port} ({purpose}): {error.cause}")
        except RepoToolError as error:  # the wheel's extra is missing, which is told elsewhere
            taken.append(f"{port} ({purpose}): {error.fact}")
    if taken:
        next_step = "stop it, or serve on others: repo-tool serve --http-port 0 --grpc-port 0 --metrics-port 0"
        yield doubtful("ports", f"not free: {'; '.join(taken)}", next_step)
    else:
        yield good("ports", f"{', '.join(map(str, _PORTS.values()))} are free")


def examine_shared_memory() -> Iterator[Finding]:
    """Through which the server and the models' processes talk, and what servers have left there that are gone."""
    try:
        found = os.statvfs(_SHARED_MEMORY)
    except OSError as error:
        lacking = EnvironmentUnfitError(
            f"there is no {_SHARED_MEMORY}", cause=str(error), next_step="mount a tmpfs there; models need it"
        )
        yield bad("shared memory", lacking)
        return
    free, size = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
    words = f"{in_words(free)} of {in_words(size)} free"
    if free < _LITTLE_SHARED:
        yield doubtful("shared memory", words, "make it larger: docker run --shm-size 1g, or remount /dev/shm")
    else:
        yield good("shared memory", words)
    stale = [region for region in _SHARED_MEMORY.iterdir() if _is_stale(region.name)]
    if stale:
        held = sum(_size(region) for region in stale)
        words = f"{in_words(held)} in {len(stale)} regions of servers that are gone"
        yield doubtful("shared memory", words, "the next repo-tool serve removes them")


def _is_stale(region: str) -> bool:
    owner = _OF_A_SERVER.match(region)
    return owner is not None and not Path(f"/proc/{owner[1]}").exists()


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_blocks * 512
    return 0


def examine_disks(repository: Path) -> Iterator[Finding]:
    """Where models are published, and where servers keep their private folders."""
    yield _repository(repository)
    temporary = Path(tempfile.gettempdir())
    yield _room("temporary files", temporary, "set TMPDIR to a folder with more room")
    if os.statvfs(temporary).f_flag & os.ST_NOEXEC:
        words = f"'{temporary}' is mounted noexec, so that a server runs from another folder"
        yield doubtful("temporary files", words, "set TMPDIR to a folder on a file system without noexec")

    oldest = min(_servers_started(), default=time.time())
    copies = [folder for folder in _COPIES.parent.glob(_COPIES.name) if _is_left_behind(folder, oldest)]
    if copies:
        words = f"{len(copies)} copies of models in {_COPIES}, left by servers that were killed"
        yield doubtful("temporary files", words, "remove them while no Triton runs")


def _is_left_behind(folder: Path, oldest_server: float) -> bool:
    """Whether it is Triton's, ours, and older than every Triton that runs."""
    with suppress(OSError):
        found = folder.lstat()
        if found.st_uid == os.geteuid() and (folder / "config.pbtxt").is_file():
            return found.st_mtime < oldest_server
    return False


def _servers_started() -> Iterator[float]:
    for status in Path("/proc").glob("[0-9]*/comm"):
        with suppress(OSError):
            if status.read_text().strip() == "tritonserver":
                yield status.parent.stat().st_ctime


def _repository(repository: Path) -> Finding:
    place = next(folder for folder in (repository.absolute(), *repository.absolute().parents) if folder.is_dir())
    try:
        if repository.exists():
            ModelRepository(repository).require()
    except RepositoryError as error:
        return bad("repository", error)
    if not os.access(place, os.W_OK | os.X_OK) or not os.access(place.parent, os.W_OK | os.X_OK):
        words = f"'{place}' or the folder that it lies in cannot be written: models can be served, and none published"
        return doubtful("repository", words, "check the owner and permissions of both")
    return _room("repository", place, "free some space, or keep fewer versions: repo-tool prune")


def _room(topic: str, folder: Path, next_step: str) -> Finding:
    found = os.statvfs(folder)
    free = found.f_bavail * found.f_frsize
    words = f"{in_words(free)} free at '{folder}'"
    return doubtful(topic, words, next_step) if free < _LITTLE_DISK else good(topic, words)


def examine_limits() -> Iterator[Finding]:
    """What the machine, its container and its shell allow."""
    cores, memory = _cores(), _memory()
    words = f"{cores:g} cores, {in_words(memory)} of memory"
    if memory < _LITTLE_MEMORY:
        yield doubtful("limits", words, "give the container more memory: a server takes some 200 MiB before any model")
    else:
        yield good("limits", words)
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files < _FEW_FILES:
        words = f"{files} open files: each connection is one, and a server that has none left takes no more"
        yield doubtful("limits", words, "raise it: ulimit -n 65536, or docker run --ulimit nofile=65536")


def _cores() -> float:
    """Those that this process may run on, or the share of them that its container has."""
    there = float(len(os.sched_getaffinity(0)))
    with suppress(OSError, ValueError):
        quota, period = (_control_group() / "cpu.max").read_text().split()
        return min(there, int(quota) / int(period))
    return there


def _memory() -> int:
    """That of the machine or, where it is less, of the container, in bytes."""
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):
        return min(there, int((_control_group() / "memory.max").read_text()))
    return there


def _control_group() -> Path:
    own = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()[-1].rpartition(":")[2]
    return Path("/sys/fs/cgroup") / own.lstrip("/")


def examine_kernel(repository: Path) -> Iterator[Finding]:
    """What is used of Linux where it is there, and what becomes of it where it is not."""
    lacking = {
        "pidfd_open (5.3)": ("dead models are noticed by polling", _has_pidfd()),
        "pidfd_getfd (5.6)": ("a stop waits until clients close their connections", _has_pidfd_getfd()),
        "renameat2 (3.15)": ("a model is not there for a moment while it is replaced", _has_exchange(repository)),
        "Landlock (5.13)": ("what loads a model may write where you may", _has_landlock()),
    }
    missing = [f"{name}: without it {words}" for name, (words, is_there) in lacking.items() if not is_there]
    if missing:
        yield doubtful("kernel", "; ".join(missing), "use a newer kernel, or a container that forbids less (seccomp)")
    else:
        yield good("kernel", f"Linux {platform.release()} has {', '.join(lacking)}")


def _has_pidfd() -> bool:
    with suppress(OSError, AttributeError):
        os.close(os.pidfd_open(os.getpid()))
        return True
    return False


def _has_pidfd_getfd() -> bool:
    """Whether a descriptor of a child can be had, as a drain needs it; it is asked of a child that does nothing."""
    child = os.fork()
    if child == 0:
        try:
            signal.pause()
        finally:
            os._exit(0)
    try:
        process = os.pidfd_open(child)
        copied = ctypes.CDLL(None, use_errno=True).syscall(_PIDFD_GETFD, process, 0, 0)
        os.close(process)
        if copied >= 0:
            os.close(copied)
    except (OSError, AttributeError):
        return False
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return bool(copied >= 0)


def _has_exchange(repository: Path) -> bool:
    """On the file system of the repository, if it can be written, else on that of temporary files."""
    beside = repository.absolute().parent
    place = beside if beside.is_dir() and os.access(beside, os.W_OK | os.X_OK) else None
    with tempfile.TemporaryDirectory(prefix=".repo-tool-doctor-", dir=place) as folder:
        one, other = Path(folder, "one"), Path(folder, "other")
        one.mkdir()
        other.mkdir()
        try:
            return exchange(one, other)
        except OSError:
            return False


def _has_landlock() -> bool:
    return bool(ctypes.CDLL(None).syscall(_LANDLOCK, None, 0, _VERSION_OF_IT) >= 1)


def examine_gpu() -> Iterator[Finding]:
    """The embedded Triton has none of it; docker-compose.yml does."""
    gpus = describe_machine().gpus
    if gpus:
        words = f"{', '.join(gpus)}; the embedded server uses the processor alone, docker-compose.yml the GPU"
        yield good("GPU", words)
    else:
        yield good("GPU", "none: KIND_AUTO becomes KIND_CPU")
