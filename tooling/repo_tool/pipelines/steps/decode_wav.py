# SPDX-License-Identifier: Apache-2.0
"""Decode WAV bytes to mono float samples between -1 and 1, at the sample rate that the model was trained with."""

import base64
import math
import struct
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_LAYOUTS = {(_PCM, 8), (_PCM, 16), (_PCM, 24), (_PCM, 32), (_FLOAT, 32), (_FLOAT, 64)}
_TO_THE_END = 0xFFFFFFFF  # the size that a program writes which does not know yet how much follows
_RATES = range(1_000, 384_001)
_QUALITIES = {"soxr_mq": "MQ", "soxr_hq": "HQ", "soxr_vhq": "VHQ"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeWav:
    """PCM of 8, 16, 24 or 32 bits, or floats of 32 or 64; made mono first and resampled then, as librosa does it.

    ``channels``: several become one by their ``mean``, or one of the first two is taken.
    ``resampling``: by libsoxr, in the quality that has this name in librosa; another sample rate only.
    ``seconds``: shorter sound is filled with silence at its end, longer sound is cut there. Without it the samples are
    as many as the sound has, [-1].
    ``encoding``: the bytes themselves, or their base64 text.
    ``most_seconds``: longer sound is refused before it is unpacked.
    """

    packages: ClassVar[tuple[str, ...]] = ("soxr",)
    heavy: ClassVar[bool] = True

    sample_rate: int
    seconds: float | None = None
    channels: Literal["mean", "left", "right"] = "mean"
    resampling: Literal["soxr_mq", "soxr_hq", "soxr_vhq"] = "soxr_hq"
    encoding: Literal["raw", "base64"] = "raw"
    most_seconds: float = 600.0

    def __post_init__(self) -> None:
        if self.sample_rate not in _RATES:
            raise ValueError(f"sample_rate must be between {_RATES[0]} and {_RATES[-1]}")
        if not self.most_seconds > 0:
            raise ValueError("most_seconds must be more than 0")
        if (
            self.seconds is not None
            and not 1 <= self.seconds * self.sample_rate <= self.most_seconds * self.sample_rate
        ):
            raise ValueError("seconds must be at least one sample long, and at most most_seconds")

    @property
    def _length(self) -> int | None:
        return None if self.seconds is None else round(self.seconds * self.sample_rate)

    def outputs(self, inputs: Wires) -> Wires:
        """One WAV file a row becomes its samples."""
        datatype, dims = inputs["sound"]
        if (datatype, dims) != ("BYTES", (1,)):
            raise ValueError(f"'sound' must be BYTES [1], one WAV file a row; it is {datatype} {list(dims)}")
        return {"samples": ("FP32", (self._length or -1,))}

    def run(self, sound: NDArray[Any]) -> dict[str, Any]:
        """Row by row."""
        rows = [self._decoded(row, value) for row, (value,) in enumerate(sound)]
        if self._length is None:
            return {"samples": rows}
        samples = np.zeros((len(rows), self._length), dtype=np.float32)
        for row, decoded in enumerate(rows):
            samples[row, : len(decoded)] = decoded[: self._length]
        return {"samples": samples}

    def _decoded(self, row: int, value: bytes) -> NDArray[np.float32]:
        try:
            return self._samples(value if self.encoding == "raw" else _from_base64(value))
        except (ValueError, struct.error, MemoryError) as error:
            raise ValueError(f"row {row}: not a readable WAV ({error})") from error

    def _samples(self, encoded: bytes) -> NDArray[np.float32]:
        form, data = _form_and_data(encoded)
        code, channels, rate, bits = _checked_form(form)
        frames = len(data) // (channels * bits // 8)
        if frames == 0:
            raise ValueError("it has no samples")
        if frames > self.most_seconds * rate:
            raise ValueError(f"it lasts {frames / rate:.0f} s, and at most {self.most_seconds:g} s are taken")
        with np.errstate(over="ignore", invalid="ignore"):
            sound = _as_floats(data, code, bits, count=frames * channels).reshape(frames, channels)
            samples = self._resampled(self._mono(sound), rate)
        if not np.isfinite(samples).all():
            raise ValueError("a sample is NaN or infinite")
        return samples

    def _mono(self, sound: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.channels == "mean":
            return np.asarray(sound.mean(axis=1, dtype=np.float32))
        chosen = 0 if self.channels == "left" else 1
        if chosen >= sound.shape[1]:
            raise ValueError("it has one channel, and the right one is asked for")
        return np.ascontiguousarray(sound[:, chosen])

    def _resampled(self, samples: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
        if rate == self.sample_rate:
            return samples
        import soxr

        resampled = soxr.resample(samples, rate, self.sample_rate, quality=_QUALITIES[self.resampling])
        length = math.ceil(len(samples) * self.sample_rate / rate)
        exact = np.zeros(length, dtype=np.float32)
        exact[: len(resampled)] = resampled[:length]
        return exact


def _from_base64(text: bytes) -> bytes:
    return base64.b64decode(b"".join(text.split()), validate=True)


def _form_and_data(encoded: bytes) -> tuple[bytes, bytes]:
    """The chunk ``fmt`` and the chunk ``data``, by RIFF's rules."""
    if encoded[:4] != b"RIFF" or encoded[8:12] != b"WAVE":
        raise ValueError("it does not begin with RIFF and WAVE" if encoded else "it is empty")
    form, place = b"", 12
    while place + 8 <= len(encoded):
        name, size = struct.unpack_from("<4sI", encoded, place)
        content = encoded[place + 8 : place + 8 + size]
        if name == b"data":
            if len(content) < size != _TO_THE_END:
                raise ValueError(f"it is cut off: {size} bytes of sound are announced, and {len(content)} are there")
            return form, content
        form = content if name == b"fmt " else form
        place += 8 + size + size % 2
    raise ValueError("it has no chunk 'data'")


def _checked_form(form: bytes) -> tuple[int, int, int, int]:
    """What kind of numbers, how many channels, frames a second, and bits of one number."""
    if len(form) < 16:
        raise ValueError("it has no chunk 'fmt ' of 16 bytes or more before its sound")
    code, channels, rate, _, block, bits = struct.unpack_from("<HHIIHH", form)
    if code == _EXTENSIBLE and len(form) >= 26:
        (code,) = struct.unpack_from("<H", form, 24)
    if (code, bits) not in _LAYOUTS:
        raise ValueError(f"format {code} of {bits} bits is neither PCM of 8, 16, 24 or 32 nor floats of 32 or 64")
    if rate not in _RATES:
        raise ValueError(f"{rate} samples a second are not between {_RATES[0]} and {_RATES[-1]}")
    if channels == 0 or block != channels * bits // 8:
        raise ValueError(f"{channels} channels of {bits} bits do not make frames of {block} bytes")
    return code, channels, rate, bits


def _as_floats(data: bytes, code: int, bits: int, *, count: int) -> NDArray[np.float32]:
    """Integers by their largest power of two, so that -1 is the smallest of them."""
    if code == _FLOAT:
        return np.frombuffer(data, dtype=f"<f{bits // 8}", count=count).astype(np.float32)
    if bits == 8:
        return (np.frombuffer(data, dtype=np.uint8, count=count).astype(np.float32) - 128) / np.float32(128)
    if bits == 24:
        wide = np.zeros((count, 4), dtype=np.uint8)
        wide[:, 1:] = np.frombuffer(data, dtype=np.uint8, count=count * 3).reshape(count, 3)
        return wide.view("<i4")[:, 0].astype(np.float32) / np.float32(2**31)
    return np.frombuffer(data, dtype=f"<i{bits // 8}", count=count).astype(np.float32) / np.float32(2 ** (bits - 1))
