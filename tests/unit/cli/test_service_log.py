# SPDX-License-Identifier: Apache-2.0
"""Standard error and the log of a service, whatever becomes of those who read them."""

import os
import sys
import threading
from pathlib import Path

from repo_tool.cli.service_log import LogFormat, ServiceLog
from repo_tool.cli.standard_error import unfailing
from repo_tool.triton.events import EventKind, ServerEvent

DIED = ServerEvent(kind=EventKind.SERVER_DIED, cause="it was ended by SIGKILL", last_words="x" * 1000)


def test_what_cannot_be_written_to_standard_error_is_lost_and_fails_nobody():
    reader, writer = os.pipe()
    os.close(reader)
    with Path("/dev/full").open("w") as full, os.fdopen(writer, "w") as unread:
        for stream in (full, unread, None):
            print("lost" * 10_000, file=unfailing(stream), flush=True)


def test_who_tells_waits_for_no_reader(monkeypatch):
    reader, writer = os.pipe()  # holds 64 KiB
    with os.fdopen(reader, "rb") as reading, os.fdopen(writer, "w") as writing:
        monkeypatch.setattr(sys, "stderr", unfailing(writing))
        with ServiceLog(LogFormat.JSON, verbose=False) as log:
            for _ in range(200):
                log.tell(DIED)
        (written_by,) = (thread for thread in threading.enumerate() if thread.name == "log")
        told = b""
        while written_by.is_alive():
            told += os.read(reading.fileno(), 1 << 16)
    assert b"SIGKILL" in told
