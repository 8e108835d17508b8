# SPDX-License-Identifier: Apache-2.0
"""Large tensors through memory that client and server share, instead of the network."""

import asyncio
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress

from repo_client._async.transport import AsyncInfer, AsyncTransport
from repo_client._cuda_regions import CudaRegion, load_cuda
from repo_client._errors import (
    DeadlineExceededError,
    Facts,
    NetworkError,
    RepoClientError,
    ServerError,
    SharedMemoryError,
)
from repo_client._layouts import AnswerSizes, Sizes, collect, is_large, place, room_for
from repo_client._messages import InferRequest, InferResponse
from repo_client._options import SharedMemoryMode
from repo_client._region_pool import RegionPool
from repo_client._regions import (
    Region,
    has_room,
    has_shared_memory,
    is_this_machine,
    left_behind,
    remove_names_left_behind,
)
from repo_client._timeouts import seconds_left
from repo_client._urls import Url

AnyRegion = Region | CudaRegion

_MOST_BYTES = 512 * 1024**2
_LEAST_RELEASE = (2, 50)  # earlier ones crash when a region is closed that a request still uses
_PATIENCE_S = 5.0  # for what only prepares a call
_FAREWELL_S = 1.0  # how long closing waits for requests that nobody waits for any more
_POLL_S = 0.02
_OPENING_POLL_S = 0.001
_LOST = re.compile(r"[Uu]nable to find .*shared memory region")
_TOO_SMALL = re.compile(r"shared memory size specified with the request for output")
_NOTHING = Facts()
_UNREACHED = (NetworkError, DeadlineExceededError)
_HINT = (
    "start it with repo-tool serve --shared-memory, or let it see this machine's /dev/shm (docker run --ipc=host);"
    ' shared_memory="auto" goes without'
)


class AsyncSharedRegions:
    """The shared-memory regions of one client, made as calls need them.

    A call that was given up, by its deadline or by its caller, may still be read and written by the server: its
    region is left alone until the server lets go of it.

    Args:
        transport: to the server.
        url: its address.
        mode: what kind of memory, and whether it must be.
        foretells: give answers a place by the size that they had before. A call whose answer proves larger is made
            again, when the model has run already.

    Raises:
        SharedMemoryError: ``mode`` insists on what this system does not have.
    """

    def __init__(self, transport: AsyncTransport, url: Url, mode: SharedMemoryMode, *, foretells: bool = True) -> None:
        self._transport, self._url, self._foretells = transport, url, foretells
        self._insists = mode in ("system", "cuda")
        self._is_on = self._insists or (mode == "auto" and has_shared_memory() and is_this_machine(url))
        self._kind: Callable[[str, int], AnyRegion] = CudaRegion if mode == "cuda" else Region
        if mode == "cuda":
            load_cuda()
        elif self._insists and not has_shared_memory():
            raise SharedMemoryError("this system has no shared memory in /dev/shm", hint='use shared_memory="auto"')
        self._pool: RegionPool[AnyRegion] | None = None
        self._opening: dict[int, object] = {}  # who of each process makes the pool; a forked one inherits the entry
        self._sizes = AnswerSizes()

    def around(self, infer: AsyncInfer) -> AsyncInfer:
        """``infer``, with large tensors put into shared memory where that works."""
        if not self._is_on:
            return infer

        models = self._sizes.models

        async def through_memory(request: InferRequest, *, timeout_s: float) -> InferResponse:
            answer = self._foretold(request) if request.model in models else ()
            if self._is_on and (answer or is_large(request.inputs)):
                return await self._share(infer, request, answer, timeout_s)
            response = await infer(request, timeout_s=timeout_s)
            if is_large(response.outputs):
                self._sizes.learn(request, response)
            return response

        return through_memory

    def _foretold(self, request: InferRequest) -> Sizes:
        """The sizes of the answer; none for a sequence, whose calls cannot be made again if they prove wrong."""
        if not self._foretells or request.output_slices or "sequence_id" in request.parameters:
            return ()
        return self._sizes.expected(request)

    async def _share(self, infer: AsyncInfer, request: InferRequest, answer: Sizes, timeout_s: float) -> InferResponse:
        """``infer`` through a region; a second time, through a new one, where the server does not know the first."""
        deadline = time.monotonic() + timeout_s
        for is_second in (False, True):
            region = await self._lease(room_for(request, answer), deadline, is_new=is_second)
            if region is None:
                break
            try:
                response = await self._run(infer, request, answer, region, deadline)
            except RepoClientError as error:
                if is_too_small(error):
                    self._sizes.give_up(request.model)
                    break
                if not is_lost(error):
                    raise
                self._forget()
            else:
                self._sizes.learn(request, response)
                return response
        else:
            self._refuse("it lost a region at once; several servers may share the address")
        return await infer(request, timeout_s=_seconds_for(request, deadline))

    async def _run(
        self, infer: AsyncInfer, request: InferRequest, answer: Sizes, region: AnyRegion, deadline: float
    ) -> InferResponse:
        """``infer`` through the region, which is given back then if the server is done with it."""
        pool = self._pool_here()
        settle = pool.leave  # however else this ends: a deadline, a lost connection, a cancelled task
        try:
            placed = place(request, answer, region)
            response = collect(await infer(placed, timeout_s=_seconds_for(request, deadline)), region)
            settle = pool.give_back
        except RepoClientError as error:
            if is_lost(error):
                settle = pool.drop
            elif error.is_answered or error.is_unprocessed:
                settle = pool.give_back
            raise
        finally:
            settle(region)
        return response

    async def _lease(self, byte_size: int, deadline: float, *, is_new: bool) -> AnyRegion | None:
        """A region that the server has open; ``None`` where the request has to go through the network."""
        if not await self._is_opened(deadline):
            return None
        await self._tidy(deadline)
        region = None if is_new else self._pool_here().take(byte_size)
        return region or await self._register(byte_size, deadline)

    async def _is_opened(self, deadline: float) -> bool:
        """Whether there is a pool; the first call makes it, and those beside it only wait where sharing is a must."""
        if self._has_pool():
            return True
        pid, me = os.getpid(), object()
        while self._opening.setdefault(pid, me) is not me:
            if not self._insists or time.monotonic() >= deadline:
                return False
            await asyncio.sleep(_OPENING_POLL_S)
        try:
            if not self._has_pool():
                await self._open(deadline)
        except _UNREACHED:
            return False  # the call will say so itself
        except RepoClientError as error:
            self._refuse(error.fact, error)
            return False
        finally:
            del self._opening[pid]
        return self._is_on

    def _has_pool(self) -> bool:
        """Whether there is one of this process: the regions of a forked process are its parent's."""
        return self._pool is not None and self._pool.pid == os.getpid()

    async def _open(self, deadline: float) -> None:
        """Make the pool, and take away what clients left behind that were killed."""
        version = str((await self._transport.server_metadata(timeout_s=patience_s(deadline))).get("version", ""))
        if release_of(version) < _LEAST_RELEASE:
            self._refuse(f"its release is {version or 'unknown'}, and only 2.50 (24.09) and later ones are safe to use")
            return
        remove_names_left_behind()
        regions = await self._transport.regions(timeout_s=patience_s(deadline))
        for name in left_behind(region["name"] for region in regions):
            with suppress(ServerError):  # in use by a last request: the next client's matter
                await self._transport.unregister_region(name, timeout_s=patience_s(deadline))
        self._pool = RegionPool(self._kind, most_bytes=_MOST_BYTES)

    async def _register(self, byte_size: int, deadline: float) -> AnyRegion | None:
        """A new region, opened by the server."""
        pool, region = self._pool_here(), await self._make(byte_size, deadline)
        if region is None:
            return None
        is_open = False
        try:
            await self._announce(region, patience_s(deadline))
            is_open = True
        except _UNREACHED:
            return None  # the call will say so itself; whether the server has the region is not known
        except (RepoClientError, OSError) as error:
            pool.drop(region)
            self._refuse(str(getattr(error, "server_words", None) or error), error)
            return None
        finally:
            if not is_open:
                pool.leave(region)
        return region

    async def _announce(self, region: AnyRegion, timeout_s: float) -> None:
        """Make the server open the region."""
        if isinstance(region, CudaRegion):
            await self._transport.register_cuda_region(
                region.name, region.handle, device=region.device, byte_size=region.byte_size, timeout_s=timeout_s
            )
            return
        with region.named():
            await self._transport.register_region(region.name, region.key, region.byte_size, timeout_s=timeout_s)

    async def _make(self, byte_size: int, deadline: float) -> AnyRegion | None:
        """A new region that the server does not know yet; ``None`` where there is no room for it."""
        pool = self._pool_here()
        try:
            if self._kind is CudaRegion or has_room(byte_size):
                region = pool.make(byte_size)
                if region is None:
                    pool.leave_idle()
                    await self._tidy(deadline)
                    region = pool.make(byte_size)
                return region
        except OSError as error:
            self._refuse(str(error), error)
            return None
        if self._insists:
            raise SharedMemoryError(
                f"this machine has no room for {byte_size} shared bytes more", hint="docker run --shm-size=..."
            )
        return None

    async def _tidy(self, deadline: float) -> None:
        """Now and then, have the server close what it can."""
        with suppress(*_UNREACHED):  # the call will say so itself
            for region in self._pool_here().due():
                await self._is_closed(region, patience_s(deadline))

    async def _is_closed(self, region: AnyRegion, timeout_s: float) -> bool:
        """Whether the server has closed the region; it does not while a request uses it.

        Raises:
            NetworkError: the server cannot be reached.
            DeadlineExceededError: it did not answer in time.
        """
        try:
            if isinstance(region, CudaRegion):
                await self._transport.unregister_cuda_region(region.name, timeout_s=timeout_s)
            else:
                await self._transport.unregister_region(region.name, timeout_s=timeout_s)
        except _UNREACHED:
            raise
        except RepoClientError:
            return False
        self._pool_here().drop(region)
        return True

    def _refuse(self, reason: str, cause: BaseException | None = None) -> None:
        """Share nothing with this server any more, or tell whoever insists.

        Raises:
            SharedMemoryError: shared memory was insisted on.
        """
        if self._insists:
            raise SharedMemoryError(f"the server at {self._url} cannot share memory: {reason}", hint=_HINT) from cause
        self._is_on = False

    def _forget(self) -> None:
        """The server was started anew, and knows none of the regions."""
        self._pool_here().drop_idle()

    def _pool_here(self) -> RegionPool[AnyRegion]:
        if self._pool is None:
            raise SharedMemoryError("the regions are closed")
        return self._pool

    async def close(self) -> None:
        """Give all regions back, within a second; one that a given-up call still uses is the next client's matter."""
        self._is_on, pool = False, self._pool
        if pool is None or pool.pid != os.getpid():
            return
        deadline = time.monotonic() + _FAREWELL_S
        with suppress(*_UNREACHED):  # a server that has gone has taken them along
            while await self._are_left(pool, deadline) and time.monotonic() < deadline:
                await asyncio.sleep(_POLL_S)
        pool.end()

    async def _are_left(self, pool: RegionPool[AnyRegion], deadline: float) -> bool:
        """Whether the server still has some after another attempt."""
        pool.leave_idle()
        are_closed = [await self._is_closed(region, seconds_left(deadline, _NOTHING)) for region in pool.due()]
        return not all(are_closed)


def patience_s(deadline: float) -> float:
    """How long something may take that only prepares a call: the call needs time too.

    Raises:
        DeadlineExceededError: there is no time left.
    """
    return min(seconds_left(deadline, _NOTHING) / 2, _PATIENCE_S)


def _seconds_for(request: InferRequest, deadline: float) -> float:
    return seconds_left(deadline, Facts(model=request.model, request_id=request.request_id or None))


def is_lost(error: RepoClientError) -> bool:
    """Whether the server does not know the region."""
    return bool(_LOST.search(error.server_words or ""))


def is_too_small(error: RepoClientError) -> bool:
    """Whether the answer was larger than foretold."""
    return bool(_TOO_SMALL.search(error.server_words or ""))


def release_of(version: str) -> tuple[int, ...]:
    """The numbers of a release of Triton; none where it is somebody else's."""
    numbers = version.split(".")[:2]
    return tuple(int(number) for number in numbers) if all(number.isdigit() for number in numbers) else ()
