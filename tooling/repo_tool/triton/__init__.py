# SPDX-License-Identifier: Apache-2.0
"""The embedded Triton: locate it, start it, load models one by one, watch over it, stop it without a trace."""

__all__ = ["EmbeddedServer", "LoadOutcome", "ServerEvent", "ServerOptions", "Supervisor", "find_installation"]

from repo_tool.triton.events import ServerEvent
from repo_tool.triton.installation import find_installation
from repo_tool.triton.options import LoadOutcome, ServerOptions
from repo_tool.triton.server import EmbeddedServer
from repo_tool.triton.supervisor import Supervisor
