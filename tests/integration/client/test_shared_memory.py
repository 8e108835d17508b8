# SPDX-License-Identifier: Apache-2.0
"""Large tensors through memory that client and server share: used where it works, and never left behind."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc

from repo_client import AsyncClient, Client, DeadlineExceededError, Retries, ServerError, SharedMemoryError
from repo_client.testing import InMemoryTransport, model_signature
from repo_tool.triton.server import EmbeddedServer, ServerOptions
from support.impatient_front import grpc_front, http_front

REPOSITORY = Path(__file__).parent / "memory_repository"
SHARING = ServerOptions(graceful_stop_s=0, shared_memory=True)
VARIANTS = ("sync-grpc", "async-grpc", "sync-http", "async-http")
MODELS = ["patient", "positives"]
FOLDER = Path("/dev/shm")  # noqa: S108  # where Linux keeps POSIX shared memory
VALUES = np.arange(100_000, dtype=np.float32)


@pytest.fixture(scope="module")
def server():
    with EmbeddedServer(REPOSITORY, replace(SHARING, beside=(REPOSITORY.with_name("repository"),))) as server:
        assert [outcome.refusal for outcome in server.load_all([*MODELS, "echo"])] == [None] * 3
        yield server


@pytest.fixture
def witness(server):
    """What the server itself says of its regions, asked without our client."""
    with tritonclient.grpc.InferenceServerClient(server.grpc_url) as client:
        yield client


@pytest.fixture
def sharing(server, opener, variant):
    return opener.open(variant, grpc_url=server.grpc_url, http_url=server.http_url, shared_memory="system")


def regions(witness):
    return {region for region in witness.get_system_shared_memory_status().regions if region.startswith("repo-client")}


def names_on_this_machine():
    return {path.name for path in FOLDER.glob(f"repo-client-*-{os.getpid()}-*")}


def poll(condition, timeout_s=10.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)


def infer(model, values, **options):
    return model.infer({"values": values}, **options)["next"]


def test_a_large_tensor_goes_through_a_region_without_a_name(sharing, witness):
    model = sharing.model("patient")
    for round_ in range(4):  # from the third on the answer comes through the region too
        assert np.array_equal(infer(model, VALUES + round_), VALUES + round_ + 1)
        assert regions(witness)
        assert not names_on_this_machine()
    sharing.close()
    assert not regions(witness)


def test_values_of_every_kind_go_through_a_region(sharing, witness):
    random = np.random.default_rng(5)
    inputs = {
        "in_STRING": np.array([[f"naïve word {number}".encode() for number in range(10_000)]], dtype=object),
        "in_BF16": random.integers(-128, 128, (100, 1000)).astype(np.float32),  # which bfloat16 holds exactly
        "in_BOOL": random.random((300, 1000)) > 0.5,
        "in_INT64": random.integers(-(2**60), 2**60, (3, 50_000))[:, ::2],  # not contiguous
        "in_FP16": np.empty((0, 7), np.float16),
        "in_UINT8": np.array([[9]], np.uint8),
    }
    for _ in range(4):
        answer = sharing.model("echo").infer(inputs)
        for name, array in inputs.items():
            assert np.array_equal(answer[name.replace("in_", "out_")], array)
    assert regions(witness)


def test_calls_one_after_the_other_share_a_region(sharing, witness):
    model = sharing.model("patient")
    infer(model, VALUES)
    infer(model, VALUES)
    infer(model, VALUES)  # with room for the answer
    before = regions(witness)
    for _ in range(5):
        infer(model, VALUES)
    assert regions(witness) == before


def test_a_small_tensor_stays_in_the_request(sharing, witness):
    assert infer(sharing.model("patient"), VALUES[:30])[-1] == 30
    assert not regions(witness)


def test_an_answer_that_outgrows_what_was_foretold_arrives_whole(sharing, witness):
    model = sharing.model("positives")
    values = np.ones(100_000, np.float32)
    values[60_000:] = -1
    for count in (60_000, 60_000, 60_000, 50_000, 60_000, 60_000, 90_000, 90_000):
        values[:] = -1
        values[:count] = count
        found = model.infer({"values": values})["found"]
        assert found.shape == (count,)
        assert (found == count).all()
    assert regions(witness)


@pytest.mark.parametrize(("attempts", "further_runs"), [(1, 0), (2, 1)])
def test_a_model_runs_again_for_an_answer_that_outgrew_its_place_unless_nothing_may_be_repeated(
    server, opener, variant, witness, attempts, further_runs
):
    urls = {"grpc_url": server.grpc_url, "http_url": server.http_url}
    client = opener.open(variant, **urls, shared_memory="system", retries=Retries(attempts=attempts))
    model, before = client.model("positives"), runs(witness, "positives")
    values = np.full(100_000, -1, np.float32)
    for count in (60_000, 60_000, 90_000):
        values[:count] = 1
        assert model.infer({"values": values})["found"].size == count
    assert runs(witness, "positives") - before == 3 + further_runs


def runs(witness, name):
    """How often the model ran, once that stands still: Triton counts behind its answer."""
    seen, deadline = [], time.monotonic() + 20
    while len(seen) < 5 or len(set(seen[-5:])) > 1:
        assert time.monotonic() < deadline, seen
        seen.append(sum(model.execution_count for model in witness.get_inference_statistics(name).model_stats))
        time.sleep(0.03)  # between two looks of a poll with a deadline
    return seen[-1]


def test_an_answer_alone_goes_through_memory_too(server, opener, variant, witness):
    client = opener.open(variant, grpc_url=server.grpc_url, http_url=server.http_url, shared_memory="auto")
    model = client.model("patient")
    for number in range(4):  # of its thousand values nobody would make a region
        answer = model.infer({"values": VALUES[:1000] + number, "times": [100]})["next"]
        assert np.array_equal(answer, np.tile(VALUES[:1000] + number + 1, 100))
    assert regions(witness)


def test_a_region_whose_call_was_given_up_is_not_used_again_before_the_server_is_done(sharing, witness):
    model = sharing.model("patient")

    def call(values, seconds, **options):
        return model.infer({"values": values, "seconds": [seconds]}, **options)["next"]

    for _ in range(3):
        call(VALUES, 0.0)
    known = regions(witness)
    with pytest.raises(DeadlineExceededError):
        call(VALUES, 0.6, timeout_s=0.2)
    for round_ in range(5):  # the second instance of the model answers these
        assert np.array_equal(call(-VALUES - round_, 0.0), -VALUES - round_ + 1)
    assert regions(witness) > known

    def is_closed():
        call(VALUES, 0.0)
        return not known <= regions(witness)

    poll(is_closed)


@pytest.fixture
def front(server, variant):
    is_grpc = variant.endswith("grpc")
    with (grpc_front if is_grpc else http_front)(server.grpc_url if is_grpc else server.http_url) as front:
        yield front


def test_a_region_of_a_call_that_something_in_front_gave_up_is_not_used_again(front, opener, variant, witness):
    """The call ends with an answer, and not Triton's: that still reads the region, and will write into it."""
    client = opener.open(variant, grpc_url=front.address, http_url=front.address, shared_memory="system")
    model = client.model("patient")

    def call(values, seconds):
        return model.infer({"values": values, "seconds": [seconds]})["next"]

    for _ in range(3):
        call(VALUES, 0.0)
    known = regions(witness)
    front.is_patient = False
    with pytest.raises(ServerError):
        call(VALUES, 0.6)
    front.is_patient = True
    for round_ in range(5):  # the second instance of the model answers these
        assert np.array_equal(call(-VALUES - round_, 0.0), -VALUES - round_ + 1)
    assert regions(witness) > known


def test_regions_that_somebody_else_closed_are_opened_again(sharing, witness):
    model = sharing.model("patient")
    for _ in range(3):
        infer(model, VALUES)
    before = regions(witness)
    poll(lambda: _closed_all(witness))
    assert np.array_equal(infer(model, VALUES), VALUES + 1)
    after = regions(witness)
    assert after
    assert not after & before


def _closed_all(witness):
    witness.unregister_system_shared_memory()
    return not regions(witness)


def test_a_restarted_server_gets_new_regions(opener):
    with EmbeddedServer(REPOSITORY, SHARING) as server:
        server.load_all(MODELS)
        urls = {"grpc_url": server.grpc_url, "http_url": server.http_url}
        models = [opener.open(variant, **urls, shared_memory="system").model("patient") for variant in VARIANTS]
        assert all(np.array_equal(infer(model, VALUES), VALUES + 1) for model in models)
    http_port, grpc_port = (int(urls[name].rsplit(":")[-1]) for name in ("http_url", "grpc_url"))
    with EmbeddedServer(REPOSITORY, replace(SHARING, http_port=http_port, grpc_port=grpc_port)) as server:
        server.load_all(MODELS)
        assert all(np.array_equal(infer(model, VALUES), VALUES + 1) for model in models)
        with tritonclient.grpc.InferenceServerClient(server.grpc_url) as witness:
            assert len(regions(witness)) == len(VARIANTS)


def test_a_server_that_shares_nothing_is_served_through_the_network(client_server, opener, variant):
    client = opener.open(variant, grpc_url=client_server.grpc_url, http_url=client_server.http_url)
    values = VALUES.reshape(100, 1000)
    for _ in range(3):
        assert np.array_equal(client.model("echo").infer({"in_FP32": values})["out_FP32"], values)


def test_a_server_that_shares_nothing_is_named_where_sharing_is_insisted_on(client_server, opener, variant):
    client = opener.open(
        variant, grpc_url=client_server.grpc_url, http_url=client_server.http_url, shared_memory="system"
    )
    with pytest.raises(SharedMemoryError, match="restricted"):
        client.model("echo").infer({"in_FP32": VALUES.reshape(100, 1000)})
    assert client.model("echo").infer({"in_FP32": [[1.0]]})["out_FP32"] == 1


def test_a_client_that_was_never_closed_is_cleaned_up_after_by_the_next(server, witness):
    client = Client(f"grpc://{server.grpc_url}", shared_memory="system")
    infer(client.model("patient"), VALUES)
    forgotten = regions(witness)
    assert forgotten
    del client
    with Client(f"grpc://{server.grpc_url}", shared_memory="system") as client:
        infer(client.model("patient"), VALUES)
        assert not forgotten & regions(witness)


def test_a_transport_that_was_passed_in_is_not_asked_to_share():
    signature = model_signature("large", inputs={"values": ("FP32", [-1])}, outputs={"next": ("FP32", [-1])})
    transport = InMemoryTransport(signature, answer=lambda inputs: {"next": inputs["values"]})
    with Client("grpc://127.0.0.1", transport=transport) as client:
        client.model("large").infer({"values": VALUES})
    assert {call.method for call in transport.calls} == {"metadata", "config", "infer"}


def test_threads_share_the_regions_of_one_client(server, witness):
    with Client(f"grpc://{server.grpc_url}", shared_memory="system") as client:
        model = client.model("patient")
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda number: infer(model, VALUES + number), range(64)))
        assert all(np.array_equal(answer, VALUES + number + 1) for number, answer in enumerate(answers))
        assert 1 <= len(regions(witness)) <= 24
    assert not regions(witness)


def test_many_calls_at_once_have_a_region_each(server, witness):
    async def run():
        async with AsyncClient(f"grpc://{server.grpc_url}", shared_memory="system") as client:
            model = await client.model("patient")
            calls = (model.infer({"values": VALUES + number}) for number in range(32))
            answers = await asyncio.gather(*calls)
            assert len(regions(witness)) == 32
            return answers

    for number, answer in enumerate(asyncio.run(run())):
        assert np.array_equal(answer["next"], VALUES + number + 1)
    assert not regions(witness)


def test_a_cancelled_call_leaves_its_region_to_the_server(server, witness):
    async def run():
        async with AsyncClient(f"grpc://{server.grpc_url}", shared_memory="system") as client:
            model = await client.model("patient")
            await model.infer({"values": VALUES})
            call = asyncio.create_task(model.infer({"values": VALUES, "seconds": [0.5]}))
            await asyncio.sleep(0.2)  # it is under way
            call.cancel()
            answers = [await model.infer({"values": -VALUES}) for _ in range(4)]
            assert len(regions(witness)) >= 2
            return answers

    assert all(np.array_equal(answer["next"], 1 - VALUES) for answer in asyncio.run(run()))
    poll(lambda: not regions(witness))  # closing the client waited for the server


def test_the_memory_of_a_gpu_is_not_shared_where_there_is_none(server, opener, variant):
    if has_gpu():
        pytest.skip("this machine has a GPU")
    with pytest.raises(SharedMemoryError, match=r"CUDA|GPU"):
        opener.open(variant, grpc_url=server.grpc_url, http_url=server.http_url, shared_memory="cuda")


def has_gpu():
    return Path("/dev/nvidia0").exists()


SCRIPT = """
import os, sys
import numpy as np
from repo_client import Client

values = np.arange(100_000, dtype=np.float32)
with Client(sys.argv[1], shared_memory="system") as client:
    model = client.model("patient")
    {action}
"""


def start(action, url):
    """Another process with a client, which says "called" after its first call."""
    script = SCRIPT.format(action=action.strip())
    process = subprocess.Popen(
        [sys.executable, "-c", script, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "called\n"
    return process


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.communicate()


def left_of(process):
    return list(FOLDER.glob(f"repo-client-*-{process.pid}-*"))


def test_a_killed_client_leaves_nothing_behind(server, witness):
    victims = [start(CALLING_ON, f"{scheme}://{url}") for scheme, url in both(server)]
    for victim in victims:
        kill(victim)
    deadline = time.monotonic() + 10
    while any(map(left_of, victims)) and time.monotonic() < deadline:
        time.sleep(0.01)  # for a busy machine to give them back
    assert not [name for victim in victims for name in left_of(victim)]
    assert regions(witness)  # a server cannot know

    with Client(f"http://{server.http_url}", shared_memory="system") as client:
        infer(client.model("patient"), VALUES)
        poll(lambda: all(f"-{os.getpid()}-" in name for name in regions(witness)))


CALLING_ON = """
    while True:
        model.infer({"values": values[: np.random.randint(20_000, 100_000)]})
        print("called", flush=True)
"""


def both(server):
    return (("grpc", server.grpc_url), ("http", server.http_url))


def test_the_name_of_a_client_that_was_killed_while_the_server_opened_it_is_taken_away(server, witness):
    victim = start(CALLING_WHEN_TOLD, f"grpc://{server.grpc_url}")
    os.kill(server.pid, signal.SIGSTOP)
    try:
        victim.stdin.write("\n")
        victim.stdin.flush()
        poll(lambda: left_of(victim))  # the one moment with a name, held on to
        kill(victim)
    finally:
        os.kill(server.pid, signal.SIGCONT)

    def is_clean():
        with Client(f"grpc://{server.grpc_url}", shared_memory="system") as client:
            infer(client.model("patient"), VALUES)
        return not left_of(victim) and not regions(witness)

    poll(is_clean)


CALLING_WHEN_TOLD = """
    model.infer({"values": values})
    print("called", flush=True)
    input()
    model.infer({"values": np.tile(values, 4)})
"""


def test_a_forked_process_has_regions_of_its_own(server, witness):
    parent = start(FORKING, f"http://{server.http_url}")
    output, _ = parent.communicate(timeout=30)
    assert output == "child: True\nparent: True\n"
    assert parent.returncode == 0
    assert len({name.split("-")[3] for name in regions(witness)}) == 1  # the child's, which ended without closing


FORKING = """
    model.infer({"values": values})
    print("called", flush=True)
    child = os.fork()
    if child == 0:
        print("child:", np.array_equal(model.infer({"values": -values})["next"], 1 - values), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
    print("parent:", np.array_equal(model.infer({"values": 2 * values})["next"], 2 * values + 1), flush=True)
"""


# Over gRPC nothing is given up here: Triton 2.51 can crash where calls are cancelled early, whatever memory they use.
PATIENCE_S = {"grpc": [60.0], "http": [0.002, 0.02, 60.0, 60.0]}


OTHER_FOLDER = """
import sys
import numpy as np
from repo_client import Client, SharedMemoryError

values = np.arange(100_000, dtype=np.float32)
for mode in ("auto", "system"):
    with Client(sys.argv[1], shared_memory=mode) as client:
        try:
            print(mode, np.array_equal(client.model("patient").infer({"values": values})["next"], values + 1))
        except SharedMemoryError as error:
            print(mode, error.fact)
"""


@pytest.mark.parametrize(("size", "words"), [("64m", "Unable to open shared memory region"), ("600k", "no room")])
def test_a_client_in_a_container_of_its_own_goes_through_the_network(server, witness, size, words):
    """As in a container: its own /dev/shm, which is not the server's, or too small."""
    if not can_mount():
        pytest.skip("this user may not mount anything, not even for itself")
    script = f'mount -t tmpfs -o size={size} tmpfs /dev/shm && exec "$0" -c "$1" "$2"'
    command = [*UNSHARE, "sh", "-c", script, sys.executable, OTHER_FOLDER, f"grpc://{server.grpc_url}"]
    output = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout
    first, second = output.splitlines()
    assert first == "auto True"
    assert re.search(words, second), second
    assert not regions(witness)


UNSHARE = ["unshare", "--map-root-user", "--mount"]


def can_mount():
    if shutil.which("unshare") is None:
        return False
    command = [*UNSHARE, "mount", "-t", "tmpfs", "tmpfs", "/dev/shm"]  # noqa: S108  # for that command alone
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("scheme", PATIENCE_S)
def test_no_call_ever_gets_what_another_wrote(server, witness, scheme):
    """Calls of all sizes at once, and over HTTP half of them given up while the server has their regions."""
    url = dict(both(server))[scheme]
    assert not asyncio.run(wrong_answers(f"{scheme}://{url}", PATIENCE_S[scheme], seconds=10))
    assert not regions(witness)


async def wrong_answers(url, patience_s, seconds):
    random, wrong, until = np.random.default_rng(11), [], time.monotonic() + seconds
    async with AsyncClient(url, shared_memory="system") as client:
        model = await client.model("patient")

        async def keep_calling(number):
            while time.monotonic() < until:
                size = random.choice([1_000, 40_000, 150_000, 151_000])
                values = np.full(size, random.integers(1_000_000), np.float32)
                with suppress(DeadlineExceededError):
                    inputs = {"values": values, "times": [2]}
                    answer = await model.infer(inputs, timeout_s=random.choice(patience_s))
                    if not np.array_equal(answer["next"], np.tile(values + 1, 2)):
                        wrong.append((number, values[0], answer["next"]))

        await asyncio.gather(*(keep_calling(number) for number in range(12)))
    return wrong
