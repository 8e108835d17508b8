# SPDX-License-Identifier: Apache-2.0
"""The pure part of a plan: what is there and what is asked for, and the actions between the two."""

import json
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repo_tool.errors import PipelineError
from repo_tool.repository.layout import ModelRepository
from repo_tool.repository.provenance import digest_of_bytes
from repo_tool.workflows.plan_actions import ActionKind, make_plan
from repo_tool.workflows.plan_desired import Desired, DesiredModel, DesiredPipeline
from repo_tool.workflows.plan_found import FoundModel, read_found

CONFIG = 'backend: "onnxruntime"\nmax_batch_size: 8\n'


def model(name="wine", *, source="sha256:aa", overrides=(), release=None, **options):
    digests = {"source": source, "sample": None, "labels": None, "weights": None}
    return DesiredModel(name=name, digests=digests, options=options, overrides=dict(overrides), release=release)


def pipeline(name="reader", *, digest="sha256:pp", members=("wine",)):
    return DesiredPipeline(name=name, digest=digest, sample_digest="sha256:ss", members=members)


def ensemble(steps):
    written = ", ".join(f'{{ model_name: "{step}" model_version: -1 }}' for step in steps)
    return f'platform: "ensemble"\nmax_batch_size: 8\nensemble_scheduling {{ step [ {written} ] }}\n'


def found_model(asked, *, version=1, by="apply", owner=""):
    """What is there once ``asked`` was applied."""
    facts = {
        "by": by,
        "owner": owner,
        "model": asked.name,
        "config": CONFIG,
        "options": dict(asked.options),
        "release": asked.release or "26.07",
        "sample": {"digest": asked.digests["sample"]},
        **{f"{role}_digest": asked.digests[role] for role in ("source", "labels", "weights")},
    }
    return FoundModel(name=asked.name, version=version, facts=facts, config_text=CONFIG, interface=f"i-{asked.name}")


def found_pipeline(asked, found, *, version=1, by="apply"):
    """What is there once ``asked`` was applied: a step of its own, and the ensemble."""
    step = f"{asked.name}_post"
    text = ensemble([*asked.members, step])
    facts = {
        "by": by,
        "owner": "",
        "model": asked.name,
        "config": text,
        "release": "26.07",
        "members": list(asked.members),
        "member_versions": {name: found[name].version for name in asked.members},
        "member_interfaces": {name: found[name].interface for name in asked.members},
        "pipeline_digest": asked.digest,
        "sample": {"digest": asked.sample_digest},
        "tolerance": {"absolute": 1e-4},
    }
    own = {"by": by, "owner": "", "model": step, "config": CONFIG, "pipeline": asked.name}
    return {
        step: FoundModel(name=step, version=version, facts=own, config_text=CONFIG),
        asked.name: FoundModel(
            name=asked.name, version=version, facts=facts, config_text=text, uses=(*asked.members, step)
        ),
    }


def applied(desired, found, plan):
    """The repository after the plan, as ``repo-tool apply`` leaves it."""
    after = dict(found)
    for action in plan.actions:
        if action.obstacle:
            continue
        if action.kind is ActionKind.REMOVE:
            del after[action.model]
        elif action.kind is ActionKind.CONFIGURE:
            after[action.model] = replace(after[action.model], config_text=action.config_text)
        else:
            version = 1 + (found[action.model].version or 0 if action.model in found else 0)
            asked = next(entry for entry in (*desired.models, *desired.pipelines) if entry.name == action.model)
            if isinstance(asked, DesiredModel):
                after[asked.name] = found_model(asked, version=version)
            else:
                after |= found_pipeline(asked, after, version=version)
    return after


def kinds(plan):
    return [(action.kind.value, action.model) for action in plan.actions]


def test_what_is_listed_and_absent_is_added_models_before_what_uses_them():
    desired = Desired(models=(model("wine"), model("iris")), pipelines=(pipeline(members=("iris",)),))
    plan = make_plan(desired, {})
    assert kinds(plan) == [("add", "wine"), ("add", "iris"), ("add", "reader")]
    assert plan.actions[2].needs == ("iris",)


def test_what_is_as_listed_is_left_alone():
    desired = Desired(models=(model(),), pipelines=(pipeline(),))
    found = applied(desired, {}, make_plan(desired, {}))
    plan = make_plan(desired, found)
    assert not plan
    assert plan.unchanged == ("reader", "reader_post", "wine")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"source": "sha256:bb"}, "source: aa → bb"),
        ({"max_batch_size": 4}, "max_batch_size: default → 4"),
        ({"trusted_types": ["a.B", "c.D"]}, "trusted_types: default → a.B, c.D"),
        ({"release": "24.10"}, "release: 26.07 → 24.10"),
        ({"optimize": True}, "optimize: default → true"),
    ],
)
def test_what_was_asked_for_otherwise_gets_a_new_version(change, reason):
    (action,) = make_plan(Desired(models=(model(**change),)), {"wine": found_model(model())}).actions
    assert (action.kind, action.reasons) == (ActionKind.CHANGE, (reason,))


def test_a_release_that_is_not_named_is_whichever_it_was_added_for():
    assert not make_plan(Desired(models=(model(),)), {"wine": found_model(model(release="24.10"))})


def test_altered_files_get_a_new_version():
    there = replace(found_model(model()), altered=("1/model.onnx was changed",))
    (action,) = make_plan(Desired(models=(model(),)), {"wine": there}).actions
    assert (action.kind, action.reasons) == (ActionKind.CHANGE, ("1/model.onnx was changed",))


def test_files_that_somebody_put_beside_a_model_are_told_and_left_alone(tmp_path):
    repository = ModelRepository(tmp_path)
    directory = repository.model("wine")
    (directory.path / "configs").mkdir(parents=True)
    (directory.path / "1").mkdir()
    directory.config_path.write_text(CONFIG)
    for name in ("configs/cpu.pbtxt", "configs/gpu.pbtxt", "README.md"):
        (directory.path / name).write_text("")
    facts = {"schema": 1, **found_model(model()).facts, "shared_files": {"configs/cpu.pbtxt": digest_of_bytes(b"")}}
    directory.provenance_path(1).write_text(json.dumps(facts))
    plan = make_plan(Desired(models=(model(),)), read_found(repository, {"wine"}))
    assert (kinds(plan), plan.strays) == ([], ("wine/configs/gpu.pbtxt",))


def test_a_configuration_edited_by_hand_is_given_back_without_converting_again():
    there = replace(found_model(model()), config_text=CONFIG.replace("8", "16"))
    (action,) = make_plan(Desired(models=(model(),)), {"wine": there}).actions
    assert (action.kind, action.config_text) == (ActionKind.CONFIGURE, CONFIG)
    assert action.diff == ("-max_batch_size: 16", "+max_batch_size: 8")


def test_comments_and_layout_of_a_configuration_are_a_persons_own():
    there = replace(found_model(model()), config_text='# mine\nmax_batch_size : 8 backend: "onnxruntime"')
    assert not make_plan(Desired(models=(model(),)), {"wine": there})


@pytest.mark.parametrize("text", [None, "max_batch_size: {", "no_such_field: 1"])
def test_a_configuration_that_is_none_is_given_back(text):
    there = replace(found_model(model()), config_text=text, interface=None)
    (action,) = make_plan(Desired(models=(model(),)), {"wine": there}).actions
    assert (action.kind, action.config_text) == (ActionKind.CONFIGURE, CONFIG)


@pytest.mark.parametrize("facts", [{}, {"schema": 1, "source_digest": "sha256:aa"}])
def test_a_version_that_does_not_tell_its_options_is_followed_by_one_that_does(facts):
    there = FoundModel(name="wine", version=3, facts=facts, config_text=CONFIG)
    (action,) = make_plan(Desired(models=(model(),)), {"wine": there}).actions
    assert action.kind is ActionKind.CHANGE
    assert "version 3" in action.reasons[0]


def test_a_pipeline_follows_its_models():
    desired = Desired(models=(model(),), pipelines=(pipeline(),))
    found = applied(desired, {}, make_plan(desired, {}))
    retrained = replace(desired, models=(model(source="sha256:bb"),))
    plan = make_plan(retrained, found)
    assert kinds(plan) == [("change", "wine"), ("change", "reader")]
    assert plan.actions[1].reasons == ("its model 'wine' gets a new version",)


def test_a_pipeline_follows_a_model_that_add_model_changed_meanwhile():
    desired = Desired(pipelines=(pipeline(),))
    wine = found_model(model(), by="add-model")
    found = {"wine": wine} | found_pipeline(pipeline(), {"wine": wine})
    newer = found | {"wine": replace(wine, version=2)}
    assert make_plan(desired, newer).actions[0].reasons == ("its model 'wine' is at version 2, it was proven with 1",)
    other = found | {"wine": replace(wine, interface="i-other")}
    assert make_plan(desired, other).actions[0].reasons == ("its model 'wine' takes or gives something else",)


def test_a_step_that_is_gone_or_altered_makes_the_pipeline_anew():
    desired = Desired(models=(model(),), pipelines=(pipeline(),))
    found = applied(desired, {}, make_plan(desired, {}))
    gone = {name: there for name, there in found.items() if name != "reader_post"}
    assert make_plan(desired, gone).actions[0].reasons == ("its step 'reader_post' is missing",)
    altered = found | {"reader_post": replace(found["reader_post"], altered=("1/model.py was changed",))}
    assert make_plan(desired, altered).actions[0].reasons == ("reader_post/1/model.py was changed",)


def test_the_configuration_of_a_step_is_given_back_alone():
    desired = Desired(models=(model(),), pipelines=(pipeline(),))
    found = applied(desired, {}, make_plan(desired, {}))
    found["reader_post"] = replace(found["reader_post"], config_text=CONFIG.replace("8", "2"))
    assert kinds(make_plan(desired, found)) == [("configure", "reader_post")]


def test_pipelines_come_after_those_they_use_and_never_in_a_circle():
    first, second = pipeline("a", members=("b",)), pipeline("b", members=("wine",))
    plan = make_plan(Desired(models=(model(),), pipelines=(first, second)), {})
    assert [action.model for action in plan.actions] == ["wine", "b", "a"]
    with pytest.raises(PipelineError, match="circle"):
        make_plan(Desired(pipelines=(first, pipeline("b", members=("a",)))), {})


def test_a_pipeline_whose_model_is_nowhere_cannot_be_made():
    (action,) = make_plan(Desired(pipelines=(pipeline(),)), {}).actions
    assert action.obstacle == "it uses 'wine', which is neither listed nor in the repository"


def test_only_what_apply_added_goes_unless_asked_otherwise():
    found = {"mine": found_model(model("mine")), "theirs": found_model(model("theirs"), by="add-model")}
    default = make_plan(Desired(), found)
    assert (kinds(default), default.unlisted) == ([("remove", "mine")], ("theirs",))
    assert kinds(make_plan(Desired(), found, prune=True)) == [("remove", "mine"), ("remove", "theirs")]
    none = make_plan(Desired(), found, prune=False)
    assert (kinds(none), none.unlisted) == ([], ("mine", "theirs"))


def test_what_another_file_lists_is_left_alone():
    found = {"wine": found_model(model(), owner="../team_b.yaml"), "iris": found_model(model("iris"))}
    plan = make_plan(Desired(owner="../team_a.yaml"), found)
    assert (kinds(plan), plan.unlisted) == ([], ("iris", "wine"))
    assert plan.owners == {"wine": "../team_b.yaml"}
    assert kinds(make_plan(Desired(owner="../team_b.yaml"), found)) == [("remove", "wine")]


def test_a_copy_of_a_models_folder_is_somebodys_own():
    wine = found_model(model())
    found = {"wine": wine, "wine_backup": replace(wine, name="wine_backup")}
    plan = make_plan(Desired(), found)
    assert (kinds(plan), plan.unlisted) == ([("remove", "wine")], ("wine_backup",))


@pytest.mark.parametrize("name", ["a b", ".hidden", "\x1b[2K"])
def test_a_folder_that_no_command_touches_is_not_planned_to_go(name):
    assert not make_plan(Desired(), {name: found_model(model(name))}, prune=True)


def test_what_uses_a_model_goes_before_it():
    desired = Desired(models=(model(),), pipelines=(pipeline(),))
    found = applied(desired, {}, make_plan(desired, {}))
    assert next(action.model for action in make_plan(Desired(), found).actions) == "reader"
    assert {action.model for action in make_plan(Desired(), found).actions} == {"wine", "reader", "reader_post"}


def test_a_model_that_an_ensemble_uses_cannot_go():
    theirs = FoundModel(name="theirs", version=1, config_text=ensemble(["wine"]), uses=("wine",))
    (action,) = make_plan(Desired(), {"wine": found_model(model()), "theirs": theirs}).actions
    assert (action.kind, action.obstacle) == (ActionKind.REMOVE, "'theirs' uses it")


def test_a_model_that_a_pipeline_stops_using_goes_after_it_has_changed():
    desired = Desired(models=(model(), model("iris")), pipelines=(pipeline(),))
    found = applied(desired, {}, make_plan(desired, {}))
    other = Desired(models=(model("iris"),), pipelines=(pipeline(digest="sha256:qq", members=("iris",)),))
    plan = make_plan(other, found)
    assert kinds(plan) == [("change", "reader"), ("remove", "wine")]
    assert (plan.actions[1].obstacle, plan.actions[1].needs) == ("", ("reader",))


def test_a_step_that_its_pipeline_no_longer_uses_goes():
    desired = Desired(models=(model(),), pipelines=(pipeline(),))
    found = applied(desired, {}, make_plan(desired, {}))
    found["reader_copy"] = replace(found["reader_post"], name="reader_copy")
    found["reader_pre"] = replace(found["reader_copy"], name="reader_pre", facts=step_facts("reader_pre"))
    plan = make_plan(desired, found)
    assert (kinds(plan), plan.unlisted) == ([("remove", "reader_pre")], ("reader_copy",))


def step_facts(name):
    return {"by": "apply", "owner": "", "model": name, "config": CONFIG, "pipeline": "reader"}


def test_a_step_of_a_pipeline_that_is_made_anew_stays_until_the_new_version_is_seen_not_to_use_it():
    desired = Desired(models=(model(),), pipelines=(pipeline(),))
    found = applied(desired, {}, make_plan(desired, {}))
    text = ensemble(["reader_pre", "wine", "reader_post"])
    there = found["reader"]
    facts = {**there.facts, "config": text}
    found["reader"] = replace(there, config_text=text, facts=facts, uses=("reader_pre", "wine", "reader_post"))
    found["reader_pre"] = FoundModel(name="reader_pre", version=1, facts=step_facts("reader_pre"), config_text=CONFIG)
    other = Desired(models=(model(),), pipelines=(pipeline(digest="sha256:qq"),))
    plan = make_plan(other, found)
    assert kinds(plan) == [("change", "reader")]
    found = applied(other, found, plan)
    assert "reader_pre" not in found["reader"].uses
    assert kinds(make_plan(other, found)) == [("remove", "reader_pre")]


@pytest.mark.parametrize(
    "there",
    [
        FoundModel(name="wine", version=1, facts={"config": CONFIG, "pipeline": "reader"}),
        FoundModel(name="wine", version=1, facts={"config": CONFIG, "members": ["a"]}, uses=("a",)),
    ],
)
def test_a_model_never_takes_the_place_of_a_pipelines(there):
    (action,) = make_plan(Desired(models=(model(),)), {"wine": there}).actions
    assert "call one of them otherwise" in action.obstacle


def test_a_new_version_can_be_asked_for():
    (action,) = make_plan(Desired(models=(model(),)), {"wine": found_model(model())}, replace={"wine"}).actions
    assert (action.kind, action.reasons) == (ActionKind.CHANGE, ("a new version was asked for",))


def published(text, overrides):
    """The same model, published with fields set over its configuration."""
    digest = f"sha256:{sha256(text.encode()).hexdigest()}"
    there = found_model(model())
    facts = {**there.facts, "overrides": overrides, "config_digest": digest}
    return replace(there, facts=facts, config_text=text)


def test_a_field_that_is_set_otherwise_is_told_with_both_values():
    there = published(CONFIG.replace("8", "16"), {"max_batch_size": "16"})
    assert not make_plan(Desired(models=(model(overrides={"max_batch_size": "16"}),)), {"wine": there})
    (action,) = make_plan(Desired(models=(model(overrides={"max_batch_size": "4"}),)), {"wine": there}).actions
    assert (action.kind, action.reasons) == (ActionKind.CONFIGURE, ("max_batch_size: 16 → 4",))
    (action,) = make_plan(Desired(models=(model(),)), {"wine": there}).actions
    assert (action.reasons, action.config_text) == (("max_batch_size: 16 → derived",), CONFIG)


@pytest.mark.parametrize("field", [{"max_batch_size": "0x8"}, {"parameters[a]": "{ }"}, {"default_model_filename": ""}])
def test_a_field_that_says_what_is_derived_anyway_changes_nothing(field):
    base = CONFIG + 'parameters { key: "a" value { } }\n'
    there = found_model(model())
    there = replace(there, config_text=base, facts={**there.facts, "config": base})
    assert not make_plan(Desired(models=(model(overrides=field),)), {"wine": there})


def test_a_field_that_this_configuration_cannot_have_is_an_obstacle():
    desired = Desired(models=(model(overrides={"instance_group[3].count": "4"}),))
    (action,) = make_plan(desired, {"wine": found_model(model())}).actions
    assert (action.kind, action.reasons) == (ActionKind.CONFIGURE, ("instance_group[3].count: derived → 4",))
    assert "leaves a gap" in action.obstacle


def test_variants_are_made_anew_when_a_field_is_set_otherwise():
    there = found_model(model(variants=True))
    desired = Desired(models=(model(variants=True, overrides={"max_batch_size": "4"}),))
    (action,) = make_plan(desired, {"wine": there}).actions
    assert (action.kind, action.reasons) == (ActionKind.CHANGE, ("max_batch_size: derived → 4",))


def test_so_are_those_that_are_left_of_an_earlier_version():
    there = found_model(model())
    facts = {**there.facts, "shared_files": {"configs/cpu.pbtxt": "sha256:0"}}
    desired = Desired(models=(model(overrides={"max_batch_size": "4"}),))
    (action,) = make_plan(desired, {"wine": replace(there, facts=facts)}).actions
    assert (action.kind, action.reasons) == (ActionKind.CHANGE, ("max_batch_size: derived → 4",))


def test_a_recorded_configuration_that_does_not_parse_is_no_bug_of_ours():
    desired = Desired(models=(model(),), pipelines=(pipeline(),))
    there = found_model(model())
    found = {"wine": there} | found_pipeline(pipeline(), {"wine": there})
    found["wine"] = replace(there, facts={**there.facts, "config": "0"})
    actions = make_plan(desired, found).actions
    assert [action.kind for action in actions] == [ActionKind.CONFIGURE, ActionKind.CHANGE]
    assert actions[1].reasons == ("its model 'wine' takes or gives something else",)


def test_who_added_a_model_does_not_matter_as_long_as_it_is_as_listed():
    assert not make_plan(Desired(models=(model(),)), {"wine": found_model(model(), by="add-model")})


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=3,
)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_a_provenance_that_somebody_wrote_by_hand_is_no_bug_of_ours(tmp_path_factory, data):
    desired = Desired(models=(model(),), pipelines=(pipeline(),))
    found = applied(desired, {}, make_plan(desired, {}))
    repository = ModelRepository(tmp_path_factory.mktemp("odd"))
    for name, there in found.items():
        facts = {"schema": 1, **there.facts}
        key = data.draw(st.sampled_from([*facts, "overrides", "files", "shared_files", "pipeline"]))
        facts[key] = data.draw(VALUES)
        directory = repository.model(name)
        directory.version_path(1).mkdir(parents=True)
        directory.config_path.write_text(there.config_text)
        directory.provenance_path(1).write_text(json.dumps(facts))
    plan = make_plan(desired, read_found(repository, desired.names, members=desired.members), prune=True)
    assert json.dumps(plan.to_dict())


NAMES = st.sampled_from(["a", "b", "c", "d"])
MODELS = st.builds(
    model,
    NAMES,
    source=st.sampled_from(["sha256:aa", "sha256:bb"]),
    max_batch_size=st.sampled_from([1, 2]),
)


@st.composite
def desires(draw):
    models = draw(st.lists(MODELS, unique_by=lambda asked: asked.name, max_size=4))
    names = [asked.name for asked in models]
    members = st.lists(st.sampled_from(names), min_size=1, unique=True).map(tuple) if names else st.just(())
    digests = st.sampled_from(["sha256:pp", "sha256:qq"])
    made = st.builds(pipeline, st.sampled_from(["p", "q"]), digest=digests, members=members)
    pipelines = draw(st.lists(made, unique_by=lambda asked: asked.name, max_size=2)) if names else []
    return Desired(models=tuple(models), pipelines=tuple(pipelines))


def put_out_of_order(draw, found):
    """Somebody edits, damages and removes things by hand."""
    for name in draw(st.sets(st.sampled_from(sorted(found)))) if found else ():
        harm = draw(st.sampled_from(["edit", "damage", "break", "unrecorded", "remove"]))
        if harm == "remove":
            del found[name]
            continue
        found[name] = {
            "edit": replace(found[name], config_text=(found[name].config_text or "") + 'default_model_filename: "x"\n'),
            "damage": replace(found[name], altered=("1/model.onnx is missing",)),
            "break": replace(found[name], config_text="{", uses=(), interface=None),
            "unrecorded": replace(found[name], facts={}, problem="version 1: no provenance"),
        }[harm]
    return found


@settings(deadline=None, max_examples=100)
@given(st.data(), desires(), desires(), st.sampled_from([None, True, False]))
def test_applying_ends_and_then_there_is_nothing_to_do(data, earlier, desired, prune):
    found = applied(earlier, {}, make_plan(earlier, {}))
    found = put_out_of_order(data.draw, found)
    for _ in range(3):  # a second and third round remove what the first one's new versions no longer use
        plan = make_plan(desired, found, prune=prune)
        doable = [action for action in plan.actions if not action.obstacle]
        assert len({action.model for action in plan.actions}) == len(plan.actions)
        if not doable:
            break
        found = applied(desired, found, plan)
    plan = make_plan(desired, found, prune=prune)
    assert [action for action in plan.actions if not action.obstacle] == []
    assert all(name in found for name in desired.names)


@settings(deadline=None, max_examples=60)
@given(desires(), desires())
def test_every_listed_model_is_told_once_and_no_other_is_touched_without_asking(earlier, desired):
    found = applied(earlier, {}, make_plan(earlier, {}))
    plan = make_plan(desired, found, prune=False)
    assert desired.names <= {action.model for action in plan.actions} | {*plan.unchanged}
    steps = {name for name, there in found.items() if there.pipeline in desired.names}
    assert {action.model for action in plan.actions} <= desired.names | steps
    assert not {*plan.unlisted} & desired.names
