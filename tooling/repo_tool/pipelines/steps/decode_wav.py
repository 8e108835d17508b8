# SPDX-License-Identifier: Apache-2.0
"""Decode WAV bytes to mono float samples between -1 and 1, at the sample rate that the model was trained with."""

import base64
import math
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]
Given = TypeVar("Given")
Read = TypeVar("Read")

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_LAYOUTS = {(_PCM, 8), (_PCM, 16), (_PCM, 24), (_PCM, 32), (_FLOAT, 32), (_FLOAT, 64)}
_TO_THE_END = 0xFFFFFFFF  # the size that a program writes which does not know yet how much follows
_DATA_URL = re.compile(rb"\s*data:[^,]{0,100};base64,")  # bounded, so that hostile text costs no time
_RATES = range(1_000, 384_001)
_QUALITIES = {"soxr_mq": "MQ", "soxr_hq": "HQ", "soxr_vhq": "VHQ"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeWav:
    """PCM of 8, 16, 24 or 32 bits, or floats of 32 or 64; made mono first and resampled then, as librosa does it.

    ``channels``: several become one by their ``mean``, or one of the first two is taken.
    ``resampling``: by libsoxr, in the quality that has this name in librosa; another sample rate only.
    ``seconds``: shorter sound is filled with silence at its end, longer sound is cut there. Without it the samples are
    as many as the sound has, [-1].
    ``encoding``: the bytes themselves, or their base64 text, also as a ``data:`` URL.
    ``most_seconds``: longer sound is refused before it is unpacked.
    ``most_megasamples``: of the resampled sounds of one call that keep their lengths, so that all are in memory at
    once; with ``seconds``, of each.
    """

    packages: ClassVar[tuple[str, ...]] = ("soxr",)
    heavy: ClassVar[bool] = True

    sample_rate: int
    seconds: float | None = None
    channels: Literal["mean", "left", "right"] = "mean"
    resampling: Literal["soxr_mq", "soxr_hq", "soxr_vhq"] = "soxr_hq"
    encoding: Literal["raw", "base64"] = "raw"
    most_seconds: float = 600.0
    most_megasamples: float = 50.0

    def __post_init__(self) -> None:
        if self.sample_rate not in _RATES:
            raise ValueError(f"sample_rate must be between {_RATES[0]} and {_RATES[-1]}")
        if not (self.most_seconds > 0 and self.most_megasamples > 0):
            raise ValueError("most_seconds and most_megasamples must be more than 0")
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
        opened = [self._reading(row, value, self._opened) for row, (value,) in enumerate(sound)]
        self._refuse_too_many(opened)
        if self._length is None:
            return {"samples": [self._reading(row, file, self._samples) for row, file in enumerate(opened)]}
        samples = np.zeros((len(opened), self._length), dtype=np.float32)
        for row, file in enumerate(opened):
            decoded = self._reading(row, file, self._samples)
            samples[row, : len(decoded)] = decoded[: self._length]
        return {"samples": samples}

    def _reading(self, row: int, given: Given, read: Callable[[Given], Read]) -> Read:
        try:
            return read(given)
        except (ValueError, struct.error, MemoryError) as error:
            raise ValueError(f"row {row}: not a readable WAV ({error})") from error

    def _refuse_too_many(self, opened: "list[_Sound]") -> None:
        """Before any is unpacked."""
        together = 0.0
        for row, sound in enumerate(opened):
            samples = max(sound.frames * self.sample_rate / sound.rate, sound.frames) / 1_000_000
            together = samples if self.seconds is not None else together + samples
            if together > self.most_megasamples:
                raise ValueError(
                    f"row {row}: the sounds up to this one have {together:.1f} million samples, and at most "
                    f"{self.most_megasamples:g} are made at once: send fewer rows in a request, or shorter ones"
                )

    def _opened(self, value: bytes) -> "_Sound":
        form, data = _form_and_data(value if self.encoding == "raw" else _from_base64(value))
        code, channels, rate, bits = _checked_form(form)
        frames = len(data) // (channels * bits // 8)
        if frames == 0:
            raise ValueError("it has no samples")
        if frames > self.most_seconds * rate:
            raise ValueError(f"it lasts {frames / rate:.0f} s, and at most {self.most_seconds:g} s are taken")
        return _Sound(data=data, code=code, channels=channels, rate=rate, bits=bits, frames=frames)

    def _samples(self, given: "_Sound") -> NDArray[np.float32]:
        with np.errstate(over="ignore", invalid="ignore"):
            numbers = _as_floats(given.data, given.code, given.bits, count=given.frames * given.channels)
            samples = self._resampled(self._mono(numbers.reshape(given.frames, given.channels)), given.rate)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sound:
    """A file whose header is read, and whose numbers are not yet."""

    data: memoryview
    code: int
    channels: int
    rate: int
    bits: int
    frames: int


def _from_base64(text: bytes) -> bytes:
    url = _DATA_URL.match(text)
    return base64.b64decode(b"".join(text[url.end() if url else 0 :].split()), validate=True)


def _form_and_data(encoded: bytes) -> tuple[bytes, memoryview]:
    """The chunk ``fmt`` and the chunk ``data``, by RIFF's rules."""
    if encoded[:4] != b"RIFF" or encoded[8:12] != b"WAVE":
        raise ValueError("it does not begin with RIFF and WAVE" if encoded else "it is empty")
    form, place = b"", 12
    while place + 8 <= len(encoded):
        name, size = struct.unpack_from("<4sI", encoded, place)
        content = memoryview(encoded)[place + 8 : place + 8 + size]
        if name == b"data":
            if len(content) < size != _TO_THE_END:
                raise ValueError(f"it is cut off: {size} bytes of sound are announced, and {len(content)} are there")
            return form, content
        form = bytes(content) if name == b"fmt " else form
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


def _as_floats(data: memoryview, code: int, bits: int, *, count: int) -> NDArray[np.float32]:
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
