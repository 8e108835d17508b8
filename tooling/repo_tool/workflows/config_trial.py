# SPDX-License-Identifier: Apache-2.0
"""Configurations of published models that are to change, tried on a real Triton before they do."""

__all__ = ["ConfigTrial", "Texts", "texts_to_change", "trying"]

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from repo_tool.config import pbtxt
from repo_tool.config.model import ModelConfig
from repo_tool.config.variants import CPU
from repo_tool.releases import DEFAULT_RELEASE, Release, release
from repo_tool.repository.disk import link_tree
from repo_tool.repository.layout import ModelRepository
from repo_tool.repository.needed_models import needed_models
from repo_tool.repository.publish import Staging, staging
from repo_tool.repository.stamps import restamped
from repo_tool.samples import read_published_sample
from repo_tool.verification import Parity, require_parity, verify
from repo_tool.workflows.found_models import FoundModel, FoundModels
from repo_tool.workflows.progress import Progress
from repo_tool.workflows.proof import EarlyServer, require_valid, triton_inference
from repo_tool.workflows.show_model import ModelRecord

Texts = Mapping[str, Mapping[str, str]]  # by model, then by variant: config.pbtxt has the name ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigTrial:
    """What is to change, and a Triton that tries it: the version of ``record`` must answer as it was published."""

    repository: ModelRepository
    record: ModelRecord
    config: ModelConfig  # of the record's model, as it is to be
    changes: Mapping[str, tuple[str, str]]  # by path in the repository, what stands there and what is to
    needed: tuple[str, ...]  # the models that change, and those that they call
    release: Release
    stage: Staging
    server: EarlyServer
    progress: Progress

    def prove(self) -> Parity | None:
        """Validate, and ask the version for its sample, also by ``configs/cpu.pbtxt``; None: our Triton cannot.

        Raises:
            ConfigError: a rule finds an error.
            ParityError: it does not answer as it was published.
            LoadRefusedError: Triton does not load it.
        """
        self._lay_out()
        with self.progress.step("validate") as step:
            step.detail = require_valid(self.stage.repository, self.release)
        if unproven := str(self.record.facts.get("unproven") or ""):
            with self.progress.step("leave unverified") as step:
                step.detail = unproven
            return None
        with self.progress.step("verify on Triton") as step:
            parity = self._ask(self.server)
            step.detail = parity.summary
        self._prove_on_cpu()
        return parity

    def _prove_on_cpu(self) -> None:
        staged = self.stage.repository
        if any(staged.model(name).variant_path(CPU).is_file() for name in self.needed):
            with (
                self.progress.step("verify configs/cpu.pbtxt") as step,
                EarlyServer(staged.path, self.release, model_config_name=CPU) as server,
            ):
                step.detail = self._ask(server).summary

    def _lay_out(self) -> None:
        """The models as they are to be, as hard links but for the configurations that change."""
        stage = self.stage.repository
        stage.path.mkdir(parents=True, exist_ok=True)
        for name in self.needed:
            link_tree(self.repository.model(name).path, stage.model(name).path)
        for name, (_, new) in self.changes.items():
            path = stage.path / name
            path.unlink()
            path.write_text(new, encoding="utf-8")

    def _ask(self, server: EarlyServer) -> Parity:
        name, version, tolerance = self.config.name, self.record.version, self.record.tolerance()
        sample = read_published_sample(self.record.directory.sample_path(version))
        server.load(name)
        with triton_inference(server.grpc_url, name, version=version) as infer:
            parity = verify(infer, self.config, sample, tolerance=tolerance)
        require_parity(parity, model=name, framework="version as it was published", tolerance=tolerance)
        return parity


@contextmanager
def trying(found: FoundModels, record: ModelRecord, texts: Texts, progress: Progress) -> Iterator[ConfigTrial]:
    """A trial of ``texts``, which get the stamps that are due; nothing of it is left afterwards.

    Raises:
        RepositoryError: a model that they call has no configuration, or there is no room beside the repository.
        ConfigError: one of the texts does not parse.
    """
    to_be = {name: pbtxt.parse(variants[""]) for name, variants in texts.items() if "" in variants}
    triton_release = release(str(record.facts.get("release") or DEFAULT_RELEASE))
    own = record.directory
    with staging(found.repository) as stage, EarlyServer(stage.repository.path, triton_release) as server:
        yield ConfigTrial(
            repository=found.repository,
            record=record,
            config=to_be.get(own.name) or own.read_config(),
            changes=texts_to_change(found, texts),
            needed=needed_models(found.repository, texts, configs=to_be),
            release=triton_release,
            stage=stage,
            server=server,
            progress=progress,
        )


def texts_to_change(found: FoundModels, texts: Texts) -> dict[str, tuple[str, str]]:
    """By path in the repository, what stands there and what is to; only what differs.

    Raises:
        ConfigError: one of the texts does not parse.
    """
    return dict(_changes(found, texts))


def _changes(found: FoundModels, texts: Texts) -> Iterator[tuple[str, tuple[str, str]]]:
    for name, variants in texts.items():
        model = found.repository.model(name)
        there = found.models.get(name, FoundModel()).configs
        for variant, text in variants.items():
            path = model.variant_path(variant) if variant else model.config_path
            old, new = there.get(variant, b"").decode(errors="replace"), restamped(text, model)
            if old != new:
                yield path.relative_to(found.repository.path).as_posix(), (old, new)
