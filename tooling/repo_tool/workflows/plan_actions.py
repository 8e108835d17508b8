# SPDX-License-Identifier: Apache-2.0
"""What is to be done so that a repository becomes what a file asks for. Pure: values in, values out."""

__all__ = ["DEFAULT_PIPELINE_TOLERANCE", "Action", "ActionKind", "Plan", "make_plan"]

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from graphlib import CycleError, TopologicalSorter
from typing import Any

from repo_tool.config import pbtxt
from repo_tool.config.variants import VARIANTS
from repo_tool.errors import ConfigError, ModelNameError, PipelineError
from repo_tool.repository.layout import check_model_name
from repo_tool.repository.pins import called_by
from repo_tool.workflows.config_overrides import interface_digest, restored
from repo_tool.workflows.given_options import OPTION_DEFAULTS
from repo_tool.workflows.plan_desired import Desired, DesiredModel, DesiredPipeline
from repo_tool.workflows.plan_found import FoundModel

DEFAULT_PIPELINE_TOLERANCE = 1e-4
_DIGEST_WORDS = 12


class ActionKind(Enum):
    """What is done to one model."""

    ADD = "add"
    CHANGE = "change"  # a new version
    CONFIGURE = "configure"  # config.pbtxt only: nothing is converted again
    REMOVE = "remove"


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One thing to do, and why."""

    kind: ActionKind
    model: str
    subject: str = "model"  # or "pipeline", "step of <pipeline>"
    reasons: tuple[str, ...] = ()
    diff: tuple[str, ...] = ()  # of config.pbtxt, where that alone changes
    config_text: str | None = None  # what it becomes
    needs: tuple[str, ...] = ()  # models whose own actions come first, and must not fail
    obstacle: str = ""  # why it cannot be done

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for ``--json``."""
        return {
            "action": self.kind.value,
            "model": self.model,
            "subject": self.subject,
            "reasons": list(self.reasons),
            "diff": list(self.diff),
            "obstacle": self.obstacle or None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All of it in the order in which it is done; ``unlisted`` models are in the repository and left alone.

    ``owners`` tells of those that apply added for another file whose, ``strays`` which files of listed models no
    command published: they may be a person's own, so nothing is done about them.
    """

    actions: tuple[Action, ...] = ()
    unchanged: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()
    owners: Mapping[str, str] = field(default_factory=dict)
    strays: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.actions)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for ``--json``."""
        return {
            "changes": bool(self),
            "actions": [action.to_dict() for action in self.actions],
            "unchanged": list(self.unchanged),
            "unlisted": list(self.unlisted),
            "owners": dict(self.owners),
            "strays": list(self.strays),
        }


def make_plan(
    desired: Desired,
    found: Mapping[str, FoundModel],
    *,
    prune: bool | None = None,
    replace: Collection[str] = (),
) -> Plan:
    """What turns ``found`` into ``desired``; models first, then the pipelines that use them, then what goes.

    Unlisted models go when apply added them for the same owner and under that name; with ``prune`` true all of them,
    false none. Those named in ``replace`` get a new version without any other reason.

    Raises:
        PipelineError: pipelines use one another in a circle.
    """
    actions: dict[str, Action] = {}
    for model in desired.models:
        if action := _for_model(model, found.get(model.name), model.name in replace):
            actions[model.name] = action
    for pipeline in _in_order(desired.pipelines):
        is_replaced = pipeline.name in replace
        actions |= {action.model: action for action in _for_pipeline(pipeline, found, desired, actions, is_replaced)}
    leaving = [name for name in _leaving(desired, found, actions, prune) if name not in actions]
    removals = _removals(leaving, desired, found, actions, prune)
    listed = {pipeline.name for pipeline in desired.pipelines}
    needed = _needed_steps(desired, found, actions)
    steps = {name for name, model in found.items() if model.pipeline in listed and name in needed}
    making = {name for name in steps if found[name].pipeline in actions}
    kept = desired.names | steps
    unlisted = sorted(name for name in found if name not in kept and name not in leaving)
    owners = {name: owner for name in unlisted if (owner := found[name].owner) and owner != desired.owner}
    return Plan(
        actions=(*actions.values(), *removals),
        unchanged=tuple(sorted(name for name in kept if name not in actions and name not in making)),
        unlisted=tuple(unlisted),
        owners=owners,
        strays=tuple(f"{name}/{file}" for name in sorted(kept & found.keys()) for file in found[name].strays),
    )


def _for_model(model: DesiredModel, there: FoundModel | None, is_replaced: bool) -> Action | None:
    if there is None or there.version is None:
        return Action(kind=ActionKind.ADD, model=model.name, reasons=("it is not in the repository",))
    if there.pipeline is not None or there.uses:
        what = f"a step of '{there.pipeline}'" if there.pipeline else "an ensemble"
        obstacle = f"the repository has {what} of that name: call one of them otherwise"
        return Action(kind=ActionKind.CHANGE, model=model.name, obstacle=obstacle)
    if there.base is None:
        return Action(kind=ActionKind.CHANGE, model=model.name, reasons=_record_reasons(there, is_replaced))
    if reasons := (*_record_reasons(there, is_replaced), *_model_reasons(model, there)):
        return Action(kind=ActionKind.CHANGE, model=model.name, reasons=reasons)
    return _configure(there, there.base, model.overrides, "model")


def _record_reasons(there: FoundModel, is_replaced: bool) -> tuple[str, ...]:
    if there.problem:
        return (there.problem,)
    if there.base is None:
        return (f"version {there.version} does not tell what it was added with",)
    asked = ("a new version was asked for",) if is_replaced else ()
    return (*asked, *there.altered)


def _model_reasons(model: DesiredModel, there: FoundModel) -> Iterator[str]:
    for role, digest in model.digests.items():
        yield from _digest_reason(role, _recorded_digest(there, role), digest)
    recorded = there.facts.get("options") or {}
    for name in OPTION_DEFAULTS:
        if recorded.get(name) != model.options.get(name):
            yield f"{name}: {_value(recorded.get(name))} → {_value(model.options.get(name))}"
    if model.options.get("variants") or _has_variants(there):  # they are made of the whole configuration
        yield from _override_reasons(there.overrides, model.overrides)
    yield from _release_reason(model.release, there)


def _has_variants(there: FoundModel) -> bool:
    shared = there.facts.get("shared_files") or {}
    return any(f"configs/{name}.pbtxt" in shared for name in VARIANTS)


def _recorded_digest(there: FoundModel, role: str) -> str | None:
    if role in ("sample", "reference"):
        return (there.facts.get(role) or {}).get("digest")
    return there.facts.get(f"{role}_digest")


def _digest_reason(role: str, recorded: str | None, digest: str | None) -> Iterator[str]:
    if recorded != digest:
        yield f"{role}: {_digest_words(recorded)} → {_digest_words(digest)}"


def _digest_words(digest: str | None) -> str:
    return str(digest).removeprefix("sha256:")[:_DIGEST_WORDS] if digest else "none"


def _value(value: Any) -> str:
    if value is None:
        return "default"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _release_reason(wanted: str | None, there: FoundModel) -> Iterator[str]:
    recorded = there.facts.get("release")
    if wanted is not None and recorded != wanted:
        yield f"release: {recorded} → {wanted}"


def _configure(there: FoundModel, base: str, overrides: Mapping[str, str], subject: str) -> Action | None:
    """The action that gives a model its configuration back; comments in it are a person's own."""
    if there.is_as_published(overrides):
        return None
    try:
        text = restored(there.bare_text, base, overrides)
    except ConfigError as error:
        words = "; ".join(filter(None, (error.fact, error.cause, error.next_step)))
        reasons = tuple(_override_reasons(there.overrides, overrides))
        return Action(kind=ActionKind.CONFIGURE, model=there.name, subject=subject, reasons=reasons, obstacle=words)
    if text == there.bare_text:
        return None
    diff = difflib.unified_diff((there.bare_text or "").splitlines(), text.splitlines(), n=0, lineterm="")
    lines = tuple(line for line in list(diff)[2:] if not line.startswith("@@"))
    return Action(
        kind=ActionKind.CONFIGURE,
        model=there.name,
        subject=subject,
        reasons=_config_reasons(there, overrides),
        diff=lines,
        config_text=text,
        needs=there.uses,
    )


def _config_reasons(there: FoundModel, overrides: Mapping[str, str]) -> tuple[str, ...]:
    if there.config_text is None:
        return ("config.pbtxt is missing",)
    if there.is_as_published(there.overrides):
        return tuple(_override_reasons(there.overrides, overrides))
    return ("config.pbtxt is not as listed",)


def _override_reasons(recorded: Mapping[str, Any], wanted: Mapping[str, str]) -> Iterator[str]:
    for path in dict.fromkeys((*recorded, *wanted)):
        if recorded.get(path) != wanted.get(path):
            yield f"{path}: {recorded.get(path, 'derived')} → {wanted.get(path, 'derived')}"


def _in_order(pipelines: Sequence[DesiredPipeline]) -> list[DesiredPipeline]:
    """Those first that others use; otherwise as they are written."""
    by_name = {pipeline.name: pipeline for pipeline in pipelines}
    uses = {
        name: [member for member in pipeline.members if member in by_name and member != name]
        for name, pipeline in by_name.items()
    }
    try:
        return [by_name[name] for name in TopologicalSorter(uses).static_order()]
    except CycleError as error:
        raise PipelineError(
            "pipelines use one another in a circle",
            cause=" → ".join(error.args[1]),
            next_step="take one of them out of the circle",
        ) from error


def _for_pipeline(
    pipeline: DesiredPipeline,
    found: Mapping[str, FoundModel],
    desired: Desired,
    actions: Mapping[str, Action],
    is_replaced: bool,
) -> Iterator[Action]:
    """A new version of the whole, or configurations given back, or nothing."""
    there = found.get(pipeline.name)
    absent = [name for name in pipeline.members if name not in found and name not in desired.names]
    obstacle = f"it uses '{absent[0]}', which is neither listed nor in the repository" if absent else ""
    needs = tuple(name for name in pipeline.members if name in actions)
    kind = ActionKind.ADD
    reasons: tuple[str, ...] = ("it is not in the repository",)
    if there is not None and there.base is not None and not there.facts.get("members"):
        obstacle = "the repository has a model of that name: call one of them otherwise"
    if there is not None and there.version is not None:
        kind, reasons = ActionKind.CHANGE, tuple(_pipeline_reasons(pipeline, there, found, actions, is_replaced))
    if reasons:
        yield Action(
            kind=kind, model=pipeline.name, subject="pipeline", reasons=reasons, needs=needs, obstacle=obstacle
        )
        return
    for part in _parts(pipeline, found):
        subject = "pipeline" if part.name == pipeline.name else f"step of {pipeline.name}"
        if part.base is not None and (action := _configure(part, part.base, {}, subject)):
            yield action


def _parts(pipeline: DesiredPipeline, found: Mapping[str, FoundModel]) -> list[FoundModel]:
    """Its steps as they are in the repository, and the ensemble."""
    used = _uses_as_applied(found[pipeline.name])
    steps = [model for name, model in found.items() if model.pipeline == pipeline.name and name in used]
    return [*steps, found[pipeline.name]]


def _pipeline_reasons(
    pipeline: DesiredPipeline,
    there: FoundModel,
    found: Mapping[str, FoundModel],
    actions: Mapping[str, Action],
    is_replaced: bool,
) -> Iterator[str]:
    yield from _record_reasons(there, is_replaced)
    if there.problem or there.base is None:
        return
    yield from _digest_reason("file", there.facts.get("pipeline_digest"), pipeline.digest)
    yield from _digest_reason("sample", _recorded_digest(there, "sample"), pipeline.sample_digest)
    yield from _digest_reason("reference", _recorded_digest(there, "reference"), pipeline.reference_digest)
    yield from _release_reason(pipeline.release, there)
    recorded = (there.facts.get("tolerance") or {}).get("absolute")
    wanted = DEFAULT_PIPELINE_TOLERANCE if pipeline.tolerance is None else pipeline.tolerance
    if recorded != wanted:
        yield f"tolerance: {recorded} → {wanted}"
    yield from _step_reasons(pipeline, there, found)
    for member in pipeline.members:
        yield from _member_reason(member, there, found.get(member), actions.get(member))


def _step_reasons(pipeline: DesiredPipeline, there: FoundModel, found: Mapping[str, FoundModel]) -> Iterator[str]:
    made = _uses_as_applied(there)
    for name in made:
        if name in pipeline.members:
            continue
        step = found.get(name)
        if step is None or step.pipeline != pipeline.name:
            yield f"its step '{name}' is missing"
        else:
            yield from (f"{name}/{words}" for words in step.altered)


def _uses_as_applied(there: FoundModel) -> tuple[str, ...]:
    """What the pipeline is made of and calls as it was published, whatever became of its config.pbtxt."""
    try:
        return called_by(pbtxt.parse(there.base or ""))
    except ConfigError:
        return there.uses


def _member_reason(name: str, there: FoundModel, member: FoundModel | None, action: Action | None) -> Iterator[str]:
    versions: Mapping[str, int] = there.facts.get("member_versions") or {}
    interfaces: Mapping[str, str] = there.facts.get("member_interfaces") or {}
    if action is not None and action.kind is not ActionKind.CONFIGURE:
        yield f"its model '{name}' gets a new version"
    elif member is not None and member.version != versions.get(name):
        yield f"its model '{name}' is at version {member.version}, it was proven with {versions.get(name, 'none')}"
    elif _interface(member, action) != interfaces.get(name):
        yield f"its model '{name}' takes or gives something else"


def _interface(member: FoundModel | None, action: Action | None) -> str | None:
    if action is None or action.config_text is None:
        return member.interface if member else None
    try:
        return interface_digest(pbtxt.parse(action.config_text))
    except ConfigError:  # the provenance was edited by hand: to be refused when it is applied
        return None


def _leaving(
    desired: Desired, found: Mapping[str, FoundModel], actions: Mapping[str, Action], prune: bool | None
) -> list[str]:
    """What goes: users before what they use."""
    if prune is False:
        return []
    listed = {pipeline.name for pipeline in desired.pipelines}
    needed = _needed_steps(desired, found, actions)
    going = []
    for name, model in found.items():
        if name in desired.names or not _is_named(name) or (model.pipeline in listed and name in needed):
            continue
        if prune or (model.is_original and (model.pipeline in listed or model.owner == desired.owner)):
            going.append(name)
    users = {name: [user for user in going if name in found[user].uses] for name in going}
    try:
        return list(TopologicalSorter(users).static_order())
    except CycleError:  # none of them can load: any order will do
        return going


def _is_named(name: str) -> bool:
    """Whether a command of ours can have made a folder of that name, and touch it."""
    try:
        return bool(check_model_name(name))
    except ModelNameError:
        return False


def _needed_steps(desired: Desired, found: Mapping[str, FoundModel], actions: Mapping[str, Action]) -> set[str]:
    """What listed pipelines are made of as they stand.

    Of those that are made anew it is everything that was generated for them: which of it the new version still needs,
    the repository tells once it is there.
    """
    needed: set[str] = set()
    for pipeline in desired.pipelines:
        is_made = pipeline.name in actions and actions[pipeline.name].kind is not ActionKind.CONFIGURE
        there = found.get(pipeline.name)
        own = (name for name, model in found.items() if model.pipeline == pipeline.name)
        needed.update(own if is_made else there.uses if there else ())
    return needed


def _users(name: str, desired: Desired, found: Mapping[str, FoundModel], leaving: Sequence[str]) -> list[str]:
    """The ensembles that use a model, or would, and stay."""
    there = [user.name for user in found.values() if name in user.uses and user.name not in leaving]
    return list(dict.fromkeys([*there, *(user.name for user in desired.pipelines if name in user.members)]))


def _is_member(name: str, pipeline: str, desired: Desired) -> bool:
    return any(entry.name == pipeline and name in entry.members for entry in desired.pipelines)


def _removals(
    leaving: Sequence[str],
    desired: Desired,
    found: Mapping[str, FoundModel],
    actions: Mapping[str, Action],
    prune: bool | None,
) -> Iterator[Action]:
    for name in leaving:
        model = found[name]
        users = _users(name, desired, found, leaving)
        changing = [user for user in users if user in actions and not _is_member(name, user, desired)]
        users = [user for user in users if user not in changing]
        was_stale_step = model.pipeline is not None and model.pipeline in desired.names
        reason = f"'{model.pipeline}' no longer uses it" if was_stale_step else "it is not listed"
        by_whom = " and apply added it" if not prune and not was_stale_step else ""
        yield Action(
            kind=ActionKind.REMOVE,
            model=name,
            subject=f"step of {model.pipeline}" if model.pipeline else "pipeline" if model.uses else "model",
            reasons=(reason + by_whom,),
            needs=(*changing, *(user for user in leaving if name in found[user].uses)),
            obstacle=f"'{users[0]}' uses it" if users else "",
        )
