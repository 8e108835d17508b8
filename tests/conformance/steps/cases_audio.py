# SPDX-License-Identifier: Apache-2.0
"""Cases of the steps that work on sound."""

import base64
import io

import numpy as np
from scipy.io import wavfile

from support.step_cases import Case, rows_of_bytes


def tone(rate, seconds, hz=440.0, channels=1):
    """Samples [frames, channels] between -0.5 and 0.5, with a little noise that tells the channels apart."""
    times = np.arange(int(rate * seconds)) / rate
    noise = np.random.default_rng(7).normal(scale=0.01, size=(len(times), channels))
    return np.squeeze(0.4 * np.sin(2 * np.pi * hz * times)[:, None] + noise)


def wav(samples, rate=16_000, dtype=np.int16):
    """A file of such numbers; ``samples`` are between -1 and 1."""
    if np.dtype(dtype).kind == "i":
        samples = np.rint(samples * np.iinfo(dtype).max)
    if dtype is np.uint8:
        samples = np.rint(samples * 127 + 128)
    stream = io.BytesIO()
    wavfile.write(stream, rate, samples.astype(dtype))
    return stream.getvalue()


SOUNDS = [
    wav(tone(16_000, 0.5)),
    wav(tone(44_100, 0.3, channels=2), 44_100),
    wav(tone(8_000, 0.7), 8_000, np.uint8),
    wav(tone(22_050, 0.4), 22_050, np.float32),
    wav(tone(48_000, 0.2, channels=2), 48_000, np.int32),
]
SAMPLES = np.stack([tone(16_000, 0.25, hz) for hz in (100, 440, 1000, 3000, 7000)]).astype(np.float32)
PIECES = [row[: 2_000 + 300 * index] for index, row in enumerate(SAMPLES)]

CASES = {
    "decode_wav": Case({"sound": rows_of_bytes(*SOUNDS)}, {"sample_rate": 16_000, "seconds": 0.4}),
    "decode_wav: lengths of their own": Case({"sound": rows_of_bytes(*SOUNDS)}, {"sample_rate": 11_025}),
    "decode_wav: base64": Case(
        {"sound": rows_of_bytes(*map(base64.b64encode, SOUNDS))},
        {"sample_rate": 8_000, "seconds": 0.1, "encoding": "base64", "channels": "left"},
    ),
    "standardise": Case({"samples": SAMPLES}),
    "standardise: lengths of their own": Case({"samples": PIECES}, {"epsilon": 1e-5}),
    "log_mel": Case({"samples": SAMPLES}, {"sample_rate": 16_000}),
    "log_mel: torchaudio, in decibels": Case(
        {"samples": SAMPLES},
        {"sample_rate": 16_000, "convention": "torchaudio", "log": "db", "range_below_peak": 80.0, "mels": 40},
    ),
    "log_mel: whisper": Case({"samples": SAMPLES}, {"sample_rate": 16_000, "convention": "whisper"}),
    "log_mel: amplitudes, a narrow window, no centre": Case(
        {"samples": SAMPLES},
        {"sample_rate": 16_000, "power": 1, "n_fft": 512, "window_length": 300, "centre": False, "log": "log10"},
    ),
    "log_mel: lengths of their own": Case({"samples": PIECES}, {"sample_rate": 16_000, "n_fft": 1024, "hop": 256}),
}
