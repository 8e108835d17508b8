# SPDX-License-Identifier: Apache-2.0
"""The steps that work on sound: bad rows are named, and the numbers are those of other implementations."""

import base64
import io
import math
import struct
import wave

import numpy as np
import pytest
import soxr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.io import wavfile

from conformance.steps.cases_audio import SAMPLES, SOUNDS, tone, wav
from repo_tool.datatypes import DataType
from repo_tool.errors import PipelineError
from repo_tool.pipelines.catalogue import step_kind
from repo_tool.pipelines.wire import Wire
from support.step_cases import rows_of_bytes


def decoded(*sounds, sample_rate=16_000, **parameters):
    step = step_kind("decode_wav").with_parameters({"sample_rate": sample_rate, **parameters})
    return step.run({"sound": rows_of_bytes(*sounds)})["samples"]


def log_mel(samples, sample_rate=16_000, **parameters):
    step = step_kind("log_mel").with_parameters({"sample_rate": sample_rate, **parameters})
    return step.run({"samples": samples})["mel"]


def of_24_bits(samples, rate=16_000):
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(3)
        file.setframerate(rate)
        whole = np.rint(samples * (2**23 - 1)).astype("<i4")
        file.writeframes(whole.view(np.uint8).reshape(-1, 4)[:, :3].tobytes())
    return stream.getvalue()


def form(*, code=1, channels=1, rate=16_000, block=2, bits=16, more=b""):
    content = struct.pack("<HHIIHH", code, channels, rate, 0, block, bits) + more
    return b"fmt " + struct.pack("<I", len(content)) + content


def riff(*chunks, data=b"\1\2\3\4", size=None):
    body = b"WAVE" + b"".join(chunks) + b"data" + struct.pack("<I", len(data) if size is None else size) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize(
    ("dtype", "scale"), [(np.uint8, 2**7), (np.int16, 2**15), (np.int32, 2**31), (np.float32, 1), (np.float64, 1)]
)
def test_samples_are_those_that_scipy_reads(dtype, scale):
    file = wav(tone(16_000, 0.1), dtype=dtype)
    _, read = wavfile.read(io.BytesIO(file))
    expected = read.astype(np.float64) - (128 if dtype is np.uint8 else 0)
    np.testing.assert_allclose(decoded(file)[0], expected / scale, rtol=1e-6)


def test_samples_of_24_bits_are_those_that_scipy_reads():
    file = of_24_bits(tone(16_000, 0.1))
    _, read = wavfile.read(io.BytesIO(file))
    np.testing.assert_allclose(decoded(file)[0], read / 2**31, rtol=1e-6)


def test_a_sound_of_the_extensible_form_is_read():
    guid = b"\x01\x00\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71"
    extensible = form(code=0xFFFE, more=struct.pack("<HHI", 22, 16, 0) + guid)
    np.testing.assert_array_equal(decoded(riff(extensible))[0], np.array([0x0201, 0x0403]) / 2**15)


def test_other_chunks_are_passed_over_and_a_stream_lasts_to_its_end():
    odd = b"LIST" + struct.pack("<I", 3) + b"abc\0"
    np.testing.assert_array_equal(decoded(riff(odd, form()))[0], np.array([0x0201, 0x0403]) / 2**15)
    np.testing.assert_array_equal(decoded(riff(form(), size=0xFFFFFFFF))[0], np.array([0x0201, 0x0403]) / 2**15)


def test_a_data_url_is_read_where_text_is():
    url = b"data:audio/wav;base64," + base64.encodebytes(SOUNDS[0])
    np.testing.assert_array_equal(decoded(url, encoding="base64")[0], decoded(SOUNDS[0])[0])


def test_sounds_that_are_too_long_together_are_refused_before_any_is_unpacked():
    second = wav(np.full(1_000, np.nan), 1_000, np.float32)  # which unpacking would refuse
    with pytest.raises(ValueError, match=r"^row 2: the sounds up to this one have 1.2 million samples"):
        decoded(second, second, second, sample_rate=384_000, most_megasamples=1)
    with pytest.raises(ValueError, match=r"^row 0: the sounds up to this one have 0.4 million samples"):
        decoded(second, sample_rate=384_000, most_megasamples=0.1, seconds=0.1)
    short = wav(tone(1_000, 1), 1_000)
    assert len(decoded(*[short] * 3, sample_rate=384_000, most_megasamples=1, seconds=0.1)) == 3


@pytest.mark.parametrize(("channels", "pick"), [("mean", None), ("left", 0), ("right", 1)])
def test_stereo_becomes_mono_as_it_is_told(channels, pick):
    both = tone(16_000, 0.1, channels=2)
    (found,) = decoded(wav(both, dtype=np.float32), channels=channels)
    expected = both.astype(np.float32).mean(axis=1) if pick is None else both[:, pick].astype(np.float32)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize(("quality", "name"), [("HQ", "soxr_hq"), ("VHQ", "soxr_vhq"), ("MQ", "soxr_mq")])
def test_resampling_is_that_of_soxr_and_as_long_as_in_librosa(rate, quality, name):
    samples = tone(rate, 0.31).astype(np.float32)
    (found,) = decoded(wav(samples, rate, np.float32), resampling=name)
    expected = soxr.resample(samples, rate, 16_000, quality=quality)
    shared = min(len(expected), len(found))
    np.testing.assert_array_equal(found[:shared], expected[:shared])
    assert len(found) == math.ceil(len(samples) * 16_000 / rate)


def test_resampling_keeps_a_tone():
    (found,) = decoded(wav(tone(44_100, 1), 44_100))
    spectrum = np.abs(np.fft.rfft(found))
    assert np.argmax(spectrum) == 440
    (silent,) = decoded(wav(tone(44_100, 1, hz=12_000), 44_100))
    assert np.abs(silent).max() < 0.1  # what the new rate cannot hold is gone, not folded back


def test_sound_is_filled_with_silence_or_cut_to_the_seconds():
    short, long = wav(tone(16_000, 0.2)), wav(tone(16_000, 0.8))
    found = decoded(short, long, seconds=0.5)
    assert found.shape == (2, 8_000)
    assert not found[0, 3_200:].any()
    np.testing.assert_array_equal(found[0, :3_200], decoded(short)[0])
    np.testing.assert_array_equal(found[1], decoded(long)[0][:8_000])


@pytest.mark.parametrize(
    ("sound", "said"),
    [
        (b"", "it is empty"),
        (b"not a sound", "it does not begin with RIFF and WAVE"),
        (SOUNDS[0][:30], "it has no chunk 'data'"),
        (SOUNDS[0][:-10], "it is cut off: 16000 bytes of sound are announced, and 15990 are there"),
        (riff(form(), data=b""), "it has no samples"),
        (riff(), "it has no chunk 'fmt '"),
        (riff(form(code=6, bits=8, block=1)), "format 6 of 8 bits is neither"),
        (riff(form(bits=12)), "format 1 of 12 bits is neither"),
        (riff(form(channels=0)), "0 channels of 16 bits do not make frames of 2 bytes"),
        (riff(form(block=7)), "1 channels of 16 bits do not make frames of 7 bytes"),
        (riff(form(rate=1)), "1 samples a second are not between"),
        (riff(form(rate=2**32 - 1)), "4294967295 samples a second are not between"),
        (wav(np.array([0, np.nan]), dtype=np.float32), "a sample is NaN or infinite"),
        (wav(np.array([0, 1e300]), dtype=np.float64), "a sample is NaN or infinite"),
        (wav(np.full((9, 2), 3e38), dtype=np.float32), "a sample is NaN or infinite"),
        (wav(np.array([0.0, np.inf] * 50), 8_000, np.float32), "a sample is NaN or infinite"),
        (wav(tone(1_000, 700), 1_000, np.uint8), "it lasts 700 s, and at most 600 s"),
    ],
)  # fmt: skip
def test_a_row_that_is_no_sound_is_named(sound, said):
    with pytest.raises(ValueError, match=r"^row 1: not a readable WAV \(") as raised:
        decoded(SOUNDS[0], sound)
    assert said in str(raised.value)


def test_the_right_channel_of_a_mono_row_is_named():
    with pytest.raises(ValueError, match=r"^row 0: not a readable WAV \(it has one channel"):
        decoded(SOUNDS[0], channels="right")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from([*SOUNDS, riff(form())]),
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 255)), max_size=6),
    st.integers(0, 200),
)
def test_damaged_sounds_are_decoded_or_named(whole, changes, kept):
    damaged = bytearray(whole)
    for place, value in changes:
        damaged[place % len(damaged)] = value
    damaged = bytes(damaged[:kept] if kept % 2 else damaged)
    try:
        samples = decoded(damaged, seconds=0.01)
    except ValueError as error:
        assert str(error).startswith("row 0: not a readable WAV")  # noqa: PT017  # either outcome is right
    else:
        assert samples.shape == (1, 160)
        assert np.isfinite(samples).all()


def reference(samples, *, mel_scale, norm, log, pad_mode, power=2.0, centre=True, n_fft=400, hop=160, mels=80, **more):
    """By the audio module of transformers, which shares nothing with ours; its filters are float64 too."""
    audio_utils = pytest.importorskip("transformers.audio_utils")
    filters = audio_utils.mel_filter_bank(n_fft // 2 + 1, mels, 0.0, 8_000.0, 16_000, norm=norm, mel_scale=mel_scale)
    return np.stack([
        audio_utils.spectrogram(
            row, audio_utils.window_function(n_fft, "hann"), frame_length=n_fft, hop_length=hop, fft_length=n_fft,
            power=power, center=centre, pad_mode=pad_mode, mel_filters=filters, mel_floor=1e-10, log_mel=log, **more,
        )
        for row in samples
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("parameters", "as_there"),
    [
        ({"log": "log10"}, {"mel_scale": "slaney", "norm": "slaney", "log": "log10", "pad_mode": "constant"}),
        ({"log": "db", "convention": "torchaudio"},
         {"mel_scale": "htk", "norm": None, "log": "dB", "pad_mode": "reflect"}),
        ({"log": "natural", "power": 1, "centre": False, "mel_scale": "htk"},
         {"mel_scale": "htk", "norm": "slaney", "log": "log", "pad_mode": "constant", "power": 1.0, "centre": False}),
        ({"log": "none", "n_fft": 512, "hop": 128, "mels": 40},
         {"mel_scale": "slaney", "norm": "slaney", "log": None, "pad_mode": "constant", "n_fft": 512, "hop": 128,
          "mels": 40}),
        ({"log": "db", "range_below_peak": 20},
         {"mel_scale": "slaney", "norm": "slaney", "log": "dB", "pad_mode": "constant", "db_range": 20}),
    ],
)  # fmt: skip
def test_log_mel_is_that_of_transformers(parameters, as_there):
    np.testing.assert_allclose(log_mel(SAMPLES, **parameters), reference(SAMPLES, **as_there), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("seconds", [1.0, 3.7])
def test_log_mel_is_whisper_s(seconds):
    transformers = pytest.importorskip("transformers")
    samples = tone(16_000, seconds).astype(np.float32)
    extractor = transformers.WhisperFeatureExtractor()
    expected = extractor._np_extract_fbank_features(samples[None], "cpu")
    np.testing.assert_allclose(log_mel(samples[None], convention="whisper"), expected, atol=1e-4)


def test_standardised_sound_is_that_of_transformers():
    wav2vec = pytest.importorskip("transformers.models.wav2vec2.feature_extraction_wav2vec2")
    found = step_kind("standardise").with_parameters({}).run({"samples": SAMPLES + 3})["standardised"]
    expected = wav2vec.Wav2Vec2FeatureExtractor.zero_mean_unit_var_norm(list(SAMPLES + 3), None)
    np.testing.assert_allclose(found, expected, atol=2e-4)  # transformers adds up in float32
    np.testing.assert_allclose((found.mean(axis=1), found.std(axis=1)), (np.zeros(5), np.ones(5)), atol=1e-4)


def test_silence_stays_silence_and_no_sound_is_named():
    made = step_kind("standardise").with_parameters({})
    assert not made.run({"samples": np.full((2, 9), 0.25, np.float32)})["standardised"].any()
    with pytest.raises(ValueError, match=r"^row 1: there are no samples"):
        made.run({"samples": [SAMPLES[0], SAMPLES[1][:0]]})


def test_a_tone_lies_in_its_mel():
    for hz in (300.0, 1_000.0, 4_000.0):
        (mel,) = log_mel(tone(16_000, 0.5, hz)[None].astype(np.float32), mel_scale="htk", mels=40)
        corners = np.linspace(0, 2595 * np.log10(1 + 8_000 / 700), 42)
        nearest = np.argmin(np.abs(corners[1:-1] - 2595 * np.log10(1 + hz / 700)))
        assert np.argmax(mel.mean(axis=1)) == nearest


def test_a_long_sound_is_the_same_in_blocks():
    samples = np.tile(SAMPLES[0], 180)
    (whole,) = log_mel([samples])
    (part,) = log_mel([samples[160 * 4_000 : 160 * 4_200]])
    np.testing.assert_allclose(whole[:, 4_010:4_190], part[:, 10:190], atol=1e-5)


@pytest.mark.parametrize(
    ("length", "parameters"),
    [(0, {}), (200, {"convention": "torchaudio"}), (399, {"centre": False}), (1, {"convention": "whisper"})],
)
def test_a_row_too_short_for_a_frame_is_named_and_told_before_anything_runs(length, parameters):
    with pytest.raises(ValueError, match=rf"^row 1: the samples are {length}, and it takes"):
        log_mel([SAMPLES[0], SAMPLES[0, :length]], **parameters)
    step = step_kind("log_mel").with_parameters({"sample_rate": 16_000, **parameters})
    with pytest.raises(PipelineError, match="step 'log_mel' cannot work"):
        step.output_wires({"samples": Wire(DataType.FP32, (length,))})


@pytest.mark.parametrize("parameters", [{}, {"convention": "torchaudio"}, {"centre": False}, {"convention": "whisper"}])
def test_as_many_samples_as_it_asks_for_are_enough(parameters):
    step = step_kind("log_mel").with_parameters({"sample_rate": 16_000, **parameters})
    with pytest.raises(PipelineError) as raised:
        step.output_wires({"samples": Wire(DataType.FP32, (0,))})
    needed = int(raised.value.cause.split("takes ")[1].split()[0])
    (mel,) = step.run({"samples": SAMPLES[:1, :needed]})["mel"]
    assert mel.shape[0] == 80
    assert mel.shape[1] in (1, 2)  # reflecting takes a sample more than half a frame, which is room for two
    with pytest.raises(ValueError, match=r"^row 0: "):
        step.run({"samples": SAMPLES[:1, : needed - 1]})


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_a_row_that_is_no_sound_is_nan_and_the_others_are_not(number):
    broken = SAMPLES.copy()
    broken[3, 5] = number
    found = log_mel(broken, convention="whisper")
    assert np.isnan(found[3]).all()
    np.testing.assert_array_equal(
        np.delete(found, 3, axis=0), np.delete(log_mel(SAMPLES, convention="whisper"), 3, axis=0)
    )


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("decode_wav", {"sample_rate": 3}),
        ("decode_wav", {"sample_rate": 16_000, "seconds": 0}),
        ("decode_wav", {"sample_rate": 16_000, "seconds": 700}),
        ("log_mel", {"sample_rate": 16_000, "highest_hz": 9_000}),
        ("log_mel", {"sample_rate": 16_000, "window_length": 401}),
        ("log_mel", {"sample_rate": 16_000, "hop": 0}),
        ("log_mel", {"sample_rate": 16_000, "floor": 0}),
        ("log_mel", {"sample_rate": 16_000, "floor": math.inf}),
        ("log_mel", {"sample_rate": 16_000, "range_below_peak": math.nan}),
        ("standardise", {"epsilon": 0}),
        ("decode_wav", {"sample_rate": 16_000, "most_megasamples": 0}),
    ],
)
def test_parameters_that_can_never_work_are_refused(name, parameters):
    with pytest.raises(PipelineError, match=f"'{name}' do not fit"):
        step_kind(name).with_parameters(parameters)
