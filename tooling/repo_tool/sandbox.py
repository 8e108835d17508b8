# SPDX-License-Identifier: Apache-2.0
"""The walls around a worker process: what foreign code in it can reach, even if every guard before it failed.

Each wall is put up where the kernel has it, none needs a privilege, and ``Walls.missing`` names those that are not
there:

* no sockets: the system call ``socket`` fails (seccomp), so there is neither network nor a daemon's Unix socket;
  where privileges or user namespaces allow it, the network is an empty one as well;
* writing only beneath the folders given (Landlock, Linux 5.13), and signals to nobody outside (Linux 6.12);
* the person's keys (``~/.ssh``, ``~/.aws``, …) cannot be read (Landlock);
* memory, processor time and core dumps are limited (``setrlimit``); the limits hold for what it starts, too.

Linux' own headers are the source of all numbers: ``linux/landlock.h``, ``linux/seccomp.h``, ``linux/audit.h``.
"""

__all__ = ["Walls", "die_with", "enter", "memory_limit"]

import ctypes
import os
import platform
import resource
import signal
import struct
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_SMALLEST_MEMORY = 2 * 2**30  # below it, importing a framework may fail
_SECRETS = [
    ".ssh",
    ".aws",
    ".azure",
    ".kube",
    ".docker",
    ".gnupg",
    ".netrc",
    ".pypirc",
    ".git-credentials",
    ".npmrc",
    ".boto",
    ".s3cfg",
    ".gsutil",
    ".pgpass",
    ".my.cnf",
    ".vault-token",
    ".bash_history",
    ".zsh_history",
    ".python_history",
    ".password-store",
    ".mozilla",
    ".thunderbird",
    ".databrickscfg",
    ".config/gcloud",
    ".config/gh",
    ".config/hub",
    ".config/rclone",
    ".config/google-chrome",
    ".config/chromium",
    ".kaggle",
    ".ngc",
    ".cache/huggingface/token",
    ".huggingface/token",
    ".local/share/keyrings",
    ".terraform.d",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Walls:
    """What was put up."""

    missing: tuple[str, ...] = ()  # in words, what could not be kept out


def enter(writable: Sequence[Path], *, memory_bytes: int, cpu_s: int) -> Walls:
    """Put the walls up around the running process and whatever it will start; there is no way back.

    Call it before any thread is started: namespaces and seccomp bind the calling thread.

    Args:
        writable: existing folders.
        memory_bytes: of private memory that can be written, for each process.
        cpu_s: of processor time, over all threads, for each process.
    """
    missing = []
    _limit(memory_bytes, cpu_s)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _leave_network(libc)
    _drop_privileges(libc)
    if not _landlock(libc, writable):
        missing.append("it can write wherever you can, and read your keys: the kernel has no Landlock")
    if not _no_sockets(libc):
        missing.append("it can reach the network: the kernel has no seccomp filters for this machine")
    return Walls(missing=tuple(missing))


_PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Let the kernel kill this process when ``parent``, which started it, ends in whatever way: kill -9 included."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the kernel was asked
        os._exit(1)


# --- limits ----------------------------------------------------------------------------------------------------------


def memory_limit() -> int:
    """Nine tenths of the memory that is free on this machine, or in the control group of this process; in bytes."""
    free = [_available()]
    with suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup") / Path("/proc/self/cgroup").read_text().splitlines()[-1].rpartition(":")[
            2
        ].lstrip("/")
        free.append(int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    return max(_SMALLEST_MEMORY, min(free) * 9 // 10)


def _available() -> int:
    with suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _limit(memory_bytes: int, cpu_s: int) -> None:
    # RLIMIT_DATA counts private writable pages, which is what memory costs; RLIMIT_AS would count libraries as well,
    # and the hundreds of gigabytes that allocators reserve and never touch.
    for kind, wanted in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_DATA, memory_bytes),
        (resource.RLIMIT_CPU, cpu_s),
    ):
        _, hard = resource.getrlimit(kind)
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (limit, limit))


# --- no network ------------------------------------------------------------------------------------------------------

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2


def _leave_network(libc: ctypes.CDLL) -> None:
    """An empty network of its own, for the privileged only: a user namespace would change who owns files."""
    libc.unshare(_CLONE_NEWNET)


# Of root's capabilities (linux/capability.h) those that the loading of files may need: 0 to 4, about their owners.
_CAPABILITIES_VERSION, _KEPT_CAPABILITIES = 0x20080522, 0b11111


def _drop_privileges(libc: ctypes.CDLL) -> None:
    """Nothing of root's but to read and write files, which the other walls bound; others have nothing to drop."""
    header = ctypes.c_char_p(struct.pack("=Ii", _CAPABILITIES_VERSION, 0))
    found = ctypes.create_string_buffer(24)
    if libc.capget(header, found) != 0:
        return
    low = [value & _KEPT_CAPABILITIES for value in struct.unpack_from("=III", found.raw)]
    libc.capset(header, ctypes.c_char_p(struct.pack("=IIIIII", *low, 0, 0, 0)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Machine:
    """Numbers of system calls."""

    audit: int
    denied: tuple[int, ...]  # socket, ptrace, process_vm_readv, process_vm_writev, setsid
    highest: int | None = None  # above it are the calls of another convention


# io_uring opens sockets as well; its calls have the same number everywhere.
_DENIED_EVERYWHERE = (425, 426, 427)
_MACHINES = {
    "x86_64": _Machine(audit=0xC000003E, denied=(41, 101, 310, 311, 112), highest=0x3FFFFFFF),
    "aarch64": _Machine(audit=0xC00000B7, denied=(198, 117, 270, 271, 157)),
}
_LOAD, _EQUAL, _GREATER, _RETURN = 0x20, 0x15, 0x25, 0x06  # BPF_LD|W|ABS, JMP|JEQ|K, JMP|JGT|K, RET|K
_ALLOW, _DENY, _KILL = 0x7FFF0000, 0x00050000 | 1, 0x80000000  # SECCOMP_RET_ALLOW, _ERRNO with EPERM, _KILL_PROCESS
_AT_NUMBER, _AT_MACHINE = 0, 4  # offsets in struct seccomp_data


def _filter(machine: _Machine) -> bytes:
    steps = [
        (_LOAD, 0, 0, _AT_MACHINE),
        (_EQUAL, 1, 0, machine.audit),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _AT_NUMBER),
    ]
    if machine.highest is not None:
        steps += [(_GREATER, 0, 1, machine.highest), (_RETURN, 0, 0, _DENY)]
    for number in (*machine.denied, *_DENIED_EVERYWHERE):
        steps += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _DENY)]
    steps.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("<HBBI", *step) for step in steps)


def _no_sockets(libc: ctypes.CDLL) -> bool:
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        return False
    code = _filter(machine)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HxxxxxxQ", len(code) // 8, ctypes.addressof(buffer))
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.c_char_p(program), 0, 0) == 0)


# --- files -----------------------------------------------------------------------------------------------------------

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every machine
_EXECUTE, _WRITE_FILE, _READ_FILE = 1 << 0, 1 << 1, 1 << 2
_CHANGE_FOLDERS = sum(1 << bit for bit in range(4, 13))  # remove, make of every kind
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_BY_VERSION = {2: _REFER, 3: _TRUNCATE}  # of the interface, which rights it brought
_SCOPES = 0b11  # version 6: abstract Unix sockets, signals
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE  # what a rule on a file may name


def _landlock(libc: ctypes.CDLL, writable: Sequence[Path]) -> bool:
    version = libc.syscall(_CREATE_RULESET, None, 0, 1)
    if version < 1:
        return False
    writing = _WRITE_FILE | _CHANGE_FOLDERS
    for brought_by, right in _BY_VERSION.items():
        writing |= right if version >= brought_by else 0
    reading = _READ_FILE  # which names there are is no secret
    attributes = struct.pack("=QQQ", writing | reading, 0, _SCOPES if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = libc.syscall(_CREATE_RULESET, ctypes.c_char_p(attributes), size, 0)
    if ruleset < 0:
        return False
    for path in _readable():
        _allow(libc, ruleset, path, reading)
    for path in (*writable, Path("/dev/null"), Path("/dev/shm"), Path("/dev/tty"), Path("/proc/self")):  # noqa: S108 - shared memory of native threads
        _allow(libc, ruleset, path, reading | writing)
    done = libc.syscall(_RESTRICT_SELF, ruleset, 0) == 0
    os.close(ruleset)
    return bool(done)


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, rights: int) -> None:
    try:
        file = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    if not path.is_dir():
        rights &= _OF_FILES
    libc.syscall(_ADD_RULE, ruleset, 1, ctypes.c_char_p(struct.pack("=Qi", rights, file)), 0)
    os.close(file)


def _readable() -> Iterable[Path]:
    """Everything but the person's keys: every entry on the way to one that does not lead there."""
    home = Path.home().resolve()
    return _all_but(Path("/"), [home / secret for secret in _SECRETS if (home / secret).exists()])


def _all_but(folder: Path, hidden: Sequence[Path]) -> Iterable[Path]:
    if folder in hidden:
        return
    inside = [path for path in hidden if path.is_relative_to(folder)]
    if not inside:
        yield folder
        return
    with suppress(OSError):
        for entry in sorted(folder.iterdir()):
            if not entry.is_symlink():  # where it leads is an entry elsewhere
                yield from _all_but(entry, inside)
