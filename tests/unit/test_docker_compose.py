# SPDX-License-Identifier: Apache-2.0
"""docker-compose.yml holds together: what it mounts, starts, publishes and scrapes."""

import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

import pytest
import yaml

from repo_tool.image_packages import IMAGE_PACKAGES, IMAGE_VERSIONS
from repo_tool.releases import DEFAULT_RELEASE, release
from repo_tool.rules.release_rules import BROUGHT_BACKENDS
from repo_tool.triton.installation import find_installation
from support.compose import brought_files

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"


@pytest.fixture(scope="module")
def compose():
    """The file as Docker reads it when no variable is set."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", COMPOSE.read_text())
    assert "${" not in text
    return yaml.safe_load(text)


@pytest.fixture(scope="module")
def triton(compose):
    return compose["services"]["triton"]


@pytest.fixture(scope="module")
def known_flags():
    """What the real tritonserver (2.51) takes; its help goes to either stream."""
    installation = find_installation()
    environment = {"LD_LIBRARY_PATH": installation.library_path()}
    shown = subprocess.run(
        [installation.server, "--help"], capture_output=True, text=True, env=environment, check=False
    )
    return set(re.findall(r"^\s+(--[a-z0-9-]+)", shown.stdout + shown.stderr, re.MULTILINE))


def test_the_release_is_the_one_that_models_are_made_for(triton):
    assert triton["build"]["args"]["TRITON_RELEASE"] == DEFAULT_RELEASE
    assert triton["image"].endswith(f":{DEFAULT_RELEASE}")
    assert f"ARG TRITON_RELEASE={DEFAULT_RELEASE}" in (ROOT / "deploy/triton/Dockerfile").read_text()


def test_the_release_has_no_published_hole():
    assert release(DEFAULT_RELEASE).fixed_all_published_cves


def test_every_flag_is_one_that_tritonserver_knows(triton, known_flags):
    script = (ROOT / "deploy/triton/start-triton").read_text()
    used = {flag.split("=")[0] for flag in triton["command"]} | set(re.findall(r'"(--[a-z-]+)=', script))
    assert "--model-repository" in known_flags
    assert used <= known_flags


def test_the_repository_is_mounted_where_triton_looks_and_cannot_be_written(triton):
    (mount,) = triton["volumes"]
    assert mount["source"] == "./model_repository"
    assert f"--model-repository={mount['target']}" in triton["command"]
    assert mount["read_only"] is True


@pytest.mark.parametrize("service", ["triton", "prometheus"])
def test_what_is_mounted_from_here_exists_and_is_read_only(compose, service):
    binds = [mount for mount in compose["services"][service]["volumes"] if mount["type"] == "bind"]
    for mount in binds:
        # The repository itself is written by the first add-model.
        assert (ROOT / mount["source"]).exists() or mount["source"] == "./model_repository"
        assert mount["read_only"] is True


@pytest.mark.parametrize("service", ["triton", "prometheus"])
def test_ports_are_published_on_loopback_unless_asked_otherwise(compose, service):
    ports = compose["services"][service]["ports"]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


@pytest.mark.parametrize("service", ["triton", "prometheus"])
def test_a_service_has_no_privilege_and_a_pinned_image(compose, service):
    settings = compose["services"][service]
    assert settings["cap_drop"] == ["ALL"]
    assert settings["security_opt"] == ["no-new-privileges:true"]
    assert settings["read_only"] is True
    assert re.search(r":v?\d+\.\d+", settings["image"])


def test_triton_runs_as_nobody_special_with_shared_memory_and_a_gpu(triton):
    assert triton["user"] == "triton-server"
    assert triton["shm_size"] == "1gb"
    (device,) = triton["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}


def test_requests_in_flight_are_answered_before_docker_kills(triton):
    (timeout,) = [int(flag.split("=")[1]) for flag in triton["command"] if flag.startswith("--exit-timeout-secs=")]
    assert int(triton["stop_grace_period"].removesuffix("s")) > timeout


def test_health_is_readiness_of_every_model(triton):
    assert "--strict-readiness=true" in triton["command"]
    assert triton["healthcheck"]["test"][-1] == "http://127.0.0.1:8000/v2/health/ready"


def test_prometheus_scrapes_the_port_that_triton_publishes(compose):
    settings = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    (job,) = settings["scrape_configs"]
    (target,) = job["static_configs"][0]["targets"]
    service, port = target.split(":")
    assert any(published.endswith(f":{port}") for published in compose["services"][service]["ports"])
    assert port == "8002"  # Triton's metrics port, unless --metrics-port says otherwise
    (mount,) = [mount for mount in compose["services"]["prometheus"]["volumes"] if mount["type"] == "bind"]
    assert f"--config.file={mount['target']}" in compose["services"]["prometheus"]["command"]


def test_the_image_has_the_packages_that_the_rules_know_and_each_is_pinned():
    lines = (ROOT / "deploy/triton/requirements.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9.]+", pin) for pin in pins)
    assert dict(pin.split("==") for pin in pins) == IMAGE_VERSIONS
    assert {*IMAGE_VERSIONS} == set(IMAGE_PACKAGES.values())


@pytest.mark.parametrize("backend", BROUGHT_BACKENDS)
def test_a_backend_that_is_brought_along_has_its_packages_as_they_were_tested(backend):
    lines = (ROOT / f"deploy/triton/requirements-{backend}.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert pins == {name: metadata.version(name.removesuffix("-cpu")) for name in pins}


def test_the_image_gets_each_backend_with_the_modules_beside_it(triton):
    context = ROOT / triton["build"]["additional_contexts"]["backends"]
    copied = brought_files(ROOT / "deploy/triton/Dockerfile", context)
    assert set(copied) == set(BROUGHT_BACKENDS)
    for files in copied.values():
        names = {path.name for path in files}
        ours = {path.stem for path in context.glob("*/*.py")}
        imported = set(re.findall(r"^(?:from|import) (\w+)", "".join(path.read_text() for path in files), re.MULTILINE))
        assert "model.py" in names
        assert {f"{name}.py" for name in imported & ours} <= names


def test_no_backend_s_packages_are_installed_unasked(triton):
    assert not triton["build"]["args"]["TRITON_BACKENDS"]


def has_docker_compose():
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not has_docker_compose(), reason="no docker compose on this machine")
def test_docker_compose_accepts_the_file():
    subprocess.run(["docker", "compose", "--file", COMPOSE, "config", "--quiet"], check=True)
