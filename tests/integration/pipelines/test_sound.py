# SPDX-License-Identifier: Apache-2.0
"""Sound through Triton: WAV files of any rate and length to what a model makes of their log-mel spectrograms."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from conformance.steps.cases_audio import SOUNDS, tone, wav
from repo_client import RefusedRequestError
from repo_tool.pipelines.catalogue import step_kind
from support.examples import MODELS, ServedExample, run_in, serving
from support.step_cases import rows_of_bytes

pytestmark = pytest.mark.slow

FIXED = {"sample_rate": 16_000, "seconds": 0.5}
MEL = {"sample_rate": 16_000, "mels": 40, "convention": "whisper"}
PIPELINE = """
name: {name}
inputs: {{sound: {{datatype: BYTES, dims: [1]}}}}
steps:
  - use: decode_wav
    with: {decode}
  - use: log_mel
    with: {mel}
  - model: bands
outputs: [loudness, loudest]
"""


def write_bands(path):
    """How loud each mel is in the middle of all frames, and which is the loudest."""
    nodes = [
        helper.make_node("ReduceMean", ["mel"], ["loudness"], axes=[2], keepdims=0),
        helper.make_node("ArgMax", ["loudness"], ["loudest"], axis=1, keepdims=1),
    ]
    outputs = [
        helper.make_tensor_value_info("loudness", TensorProto.FLOAT, ["batch", 40]),
        helper.make_tensor_value_info("loudest", TensorProto.INT64, ["batch", 1]),
    ]
    read = [helper.make_tensor_value_info("mel", TensorProto.FLOAT, ["batch", 40, "frames"])]
    graph = helper.make_graph(nodes, "bands", read, outputs)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    write_bands(folder / "bands.onnx")
    (folder / "sounds").mkdir()
    for number, sound in enumerate(SOUNDS):
        (folder / "sounds" / f"{number}.wav").write_bytes(sound)
    np.savez(folder / "bands.npz", mel=np.random.default_rng(0).normal(size=(8, 40, 50)).astype(np.float32))
    run_in(folder, "add-model", "bands.onnx", "--name", "bands", "--sample", "bands.npz", "--cores", "1")
    return folder


def added(folder, name, decode):
    text = PIPELINE.format(name=name, decode=json.dumps(decode), mel=json.dumps(MEL))
    (folder / f"{name}.yaml").write_text(text)
    return json.loads(run_in(folder, "add-pipeline", f"{name}.yaml", "--sample", "sounds", "--json"))


@pytest.fixture(scope="module")
def clips(folder):
    """Half a second of each sound, served; and the same for sounds of any length."""
    told = added(folder, "clips", FIXED)
    added(folder, "whole_sounds", {"sample_rate": 16_000})
    with serving(folder, told) as served:
        yield served


@pytest.fixture(scope="module")
def whole_sounds(clips):
    return ServedExample(clips.folder, clips.client, "whole_sounds", 1)


def mels(sounds, decode):
    samples = step_kind("decode_wav").with_parameters(decode).run({"sound": rows_of_bytes(*sounds)})["samples"]
    return step_kind("log_mel").with_parameters(MEL).run({"samples": samples})["mel"]


def test_clips_are_answered_as_by_the_steps(clips):
    given = clips.ask("sound", SOUNDS)
    wanted = np.stack([mel.mean(axis=1) for mel in mels(SOUNDS, FIXED)])
    np.testing.assert_allclose(given["loudness"], wanted, atol=1e-5)
    np.testing.assert_array_equal(given["loudest"][:, 0], wanted.argmax(axis=1))


def test_the_spectrogram_of_clips_is_in_the_graph_of_the_model(clips):
    graph = onnx.load(clips.folder / MODELS / "clips_model" / "1" / "model.onnx", load_external_data=False).graph
    assert [tensor.name for tensor in graph.input] == ["samples"]
    assert {node.op_type for node in graph.node} >= {"MatMul", "ArgMax"}


def test_sounds_of_any_length_are_answered_as_by_the_steps(whole_sounds):
    given = whole_sounds.ask("sound", SOUNDS)
    wanted = np.stack([mel.mean(axis=1) for mel in mels(SOUNDS, {"sample_rate": 16_000})])
    np.testing.assert_allclose(given["loudness"], wanted, atol=1e-5)


def test_a_higher_tone_is_in_a_higher_mel(clips):
    tones = [wav(tone(44_100, 0.6, hz), 44_100) for hz in (300, 900, 2_500, 6_000)]
    loudest = clips.ask("sound", tones)["loudest"][:, 0]
    assert (np.diff(loudest) > 0).all()


@pytest.mark.parametrize("sound", [b"", SOUNDS[0][:-7], b"RIFF" + bytes(60), b"\x89PNG\r\n\x1a\n"])
def test_a_row_that_is_no_sound_is_refused_by_step_and_row_and_the_others_are_answered(clips, sound):
    with pytest.raises(RefusedRequestError, match=r"step 'decode_wav', row 1: not a readable WAV"):
        clips.ask("sound", [SOUNDS[0], sound])
    assert clips.ask_one("sound", SOUNDS[0])["loudness"].shape == (1, 40)


def test_a_sound_too_short_for_a_frame_is_refused_by_step_and_row(whole_sounds):
    with pytest.raises(RefusedRequestError, match=r"step 'log_mel', row 0: the samples are 100, and it takes"):
        whole_sounds.ask_one("sound", wav(tone(16_000, 0.00625)))
