# SPDX-License-Identifier: Apache-2.0
"""Run a Python module where the kernel refuses one system call, as the rules of a container may: a seccomp filter.

``python forbidden_call.py NUMBER MODULE ARGUMENTS…``
"""

import ctypes
import runpy
import struct
import sys

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 22, 38
SECCOMP_MODE_FILTER = 2
EPERM = 1


def forbid(number: int) -> None:
    """Let the call fail with EPERM in this process and its children."""
    libc = ctypes.CDLL(None, use_errno=True)
    program = b"".join(
        struct.pack("HBBI", *instruction)
        for instruction in (
            (0x20, 0, 0, 0),  # A = the number of the call
            (0x15, 0, 1, number),
            (0x06, 0, 0, 0x00050000 | EPERM),  # fail with it
            (0x06, 0, 0, 0x7FFF0000),  # allow
        )
    )
    buffer = ctypes.create_string_buffer(program, len(program))
    filters = ctypes.create_string_buffer(struct.pack("HP", len(program) // 8, ctypes.addressof(buffer)))
    assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    assert libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filters) == 0, ctypes.get_errno()


if __name__ == "__main__":
    _, forbidden, module, *arguments = sys.argv
    forbid(int(forbidden))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
