# SPDX-License-Identifier: Apache-2.0
"""Backends that take milliseconds: a small library in C under many names; without a compiler, a Python-based one."""

import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("stand_in.c")
WITHOUT_COMPILER = Path(__file__).with_name("stand_in.py")
# Names that rules of Triton's core look at, and one that nobody knows.
STAND_INS = ("dali", "fil", "native", "openvino", "pytorch", "tensorflow", "tensorrt")
FLAGS = ("-O1", "-shared", "-fPIC", "-D_GNU_SOURCE")


def compiler():
    """The C compiler of this machine, if it has one."""
    return next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)


def build_stand_ins(folder):
    """The folders of the stand-ins, by backend."""
    program = compiler()
    library = folder / "stand_in.so"
    if program is not None:
        subprocess.run([program, *FLAGS, "-o", library, SOURCE], check=True, capture_output=True)
    built = {}
    for name in STAND_INS:
        built[name] = folder / name
        built[name].mkdir()
        if program is not None:
            shutil.copy(library, built[name] / f"libtriton_{name}.so")
        else:
            shutil.copy(WITHOUT_COMPILER, built[name] / "model.py")
    return built
