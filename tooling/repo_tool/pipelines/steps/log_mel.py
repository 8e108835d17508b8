# SPDX-License-Identifier: Apache-2.0
"""Turn samples ``[time]`` into a log-mel spectrogram ``[mels, frames]``."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]

FLOAT, DOUBLE = 1, 11  # of onnx.TensorProto
_BLOCK = 4096  # frames at once, so that an hour of sound does not take gigabytes
_LARGEST_MATRIX = 512  # n_fft up to which one product with a matrix costs about as much as the FFT
_MOST_INDICES = 4_000_000  # 32 MB of them in the ONNX file
_CONVENTIONS: dict[str, dict[str, str]] = {
    "librosa": {"mel_scale": "slaney", "mel_norm": "slaney", "edge": "zeros"},
    "torchaudio": {"mel_scale": "htk", "mel_norm": "none", "edge": "reflect"},
    "whisper": {"mel_scale": "slaney", "mel_norm": "slaney", "edge": "reflect"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LogMel:
    """Computed in float64 and given as FP32; a row with a sample that is NaN or infinite is NaN altogether.

    ``n_fft``, ``hop`` and ``mels`` are Whisper's where they are left out, whatever the ``convention``: librosa has
    2048, 512 and 128 and takes no logarithm, torchaudio has 400, 200 and 128.

    ``convention`` is what is taken for parameters left out: ``librosa`` (``feature.melspectrogram``), ``torchaudio``
    (``transforms.MelSpectrogram``), or ``whisper``, whose extractor leaves out the last frame too.

    ``n_fft``, ``hop``, ``window_length`` (n_fft): samples of a frame, between frames, and of the Hann window, which is
    periodic and stands in the middle of the frame.
    ``mels``, ``lowest_hz``, ``highest_hz`` (half the sample rate): the triangular filters. ``mel_scale``: ``htk`` or
    ``slaney``; ``mel_norm``: ``slaney`` makes their areas equal.
    ``power``: 2 for the energy, 1 for the amplitude.
    ``centre``: whether frame t is around sample t * hop; ``edge``: what is then before the first sample.
    ``log``: ``natural``, ``log10``, ``db`` (10 * log10) or ``none``, of at least ``floor``; left out it is
    ``log10`` for ``whisper`` and ``natural`` otherwise.
    ``range_below_peak``: what lies further below the row's largest value is raised to it (80 in librosa's dB, 8 in
    Whisper, whose values then become (value + 4) / 4).
    """

    sample_rate: int
    n_fft: int = 400
    hop: int = 160
    window_length: int | None = None
    mels: int = 80
    lowest_hz: float = 0.0
    highest_hz: float | None = None
    convention: Literal["librosa", "torchaudio", "whisper"] = "librosa"
    mel_scale: Literal["htk", "slaney"] | None = None
    mel_norm: Literal["slaney", "none"] | None = None
    edge: Literal["zeros", "reflect"] | None = None
    power: Literal[1, 2] = 2
    centre: bool = True
    log: Literal["natural", "log10", "db", "none"] | None = None
    floor: float = 1e-10
    range_below_peak: float | None = None

    def __post_init__(self) -> None:
        if min(self.sample_rate, self.n_fft, self.hop, self.mels, self.window_length or 1) < 1:
            raise ValueError("sample_rate, n_fft, hop, window_length and mels are at least 1")
        if (self.window_length or 1) > self.n_fft:
            raise ValueError(f"window_length is {self.window_length}, more than n_fft {self.n_fft}")
        if not 0 <= self.lowest_hz < self._highest <= self.sample_rate / 2:
            raise ValueError("the mels lie between lowest_hz and highest_hz, which is at most half the sample rate")
        if not 0 < self.floor < math.inf:
            raise ValueError("floor must be more than 0, and finite")
        if self.range_below_peak is not None and not 0 <= self.range_below_peak < math.inf:
            raise ValueError("range_below_peak must be 0 or more, and finite")

    @property
    def _highest(self) -> float:
        return self.sample_rate / 2 if self.highest_hz is None else self.highest_hz

    def _chosen(self, parameter: str) -> str:
        given: str | None = getattr(self, parameter)
        return given or _CONVENTIONS[self.convention][parameter]

    @property
    def _margin(self) -> int:
        return self.n_fft // 2 if self.centre else 0

    @property
    def _logarithm(self) -> str:
        return self.log or ("log10" if self.convention == "whisper" else "natural")

    @property
    def _range(self) -> float | None:
        return 8.0 if self.range_below_peak is None and self.convention == "whisper" else self.range_below_peak

    def _frames(self, length: int) -> int:
        frames = 1 + (length + 2 * self._margin - self.n_fft) // self.hop
        return frames - 1 if self.convention == "whisper" else frames

    def outputs(self, inputs: Wires) -> Wires:
        """A frame for every hop."""
        datatype, dims = inputs["samples"]
        if datatype != "FP32" or len(dims) != 1:
            raise ValueError(f"'samples' must be FP32 [time]; they are {datatype} {list(dims)}")
        problem = "" if dims[0] == -1 else self._too_short(dims[0])
        if problem:
            raise ValueError(f"'samples' {problem}")
        return {"mel": ("FP32", (self.mels, -1 if dims[0] == -1 else self._frames(dims[0])))}

    def _too_short(self, length: int) -> str:
        """What is wrong with so few samples, if anything."""
        needed = self._margin + 1 if self.centre and self._chosen("edge") == "reflect" else 1
        needed = max(needed, self.n_fft - 2 * self._margin)
        while self._frames(needed) < 1:
            needed += self.hop
        return f"are {length}, and it takes {needed} for a frame" if length < needed else ""

    def run(self, samples: Any) -> dict[str, Any]:
        """Row by row."""
        filters = _mel_filters(self)
        window = _window(self)
        rows = [self._row(row, sound, window, filters) for row, sound in enumerate(samples)]
        return {"mel": rows if isinstance(samples, list) else np.stack(rows)}

    def _row(self, row: int, sound: NDArray[Any], window: NDArray[Any], filters: NDArray[Any]) -> NDArray[np.float32]:
        problem = self._too_short(len(sound))
        if problem:
            raise ValueError(f"row {row}: the samples {problem}")
        if not np.isfinite(sound).all():
            return np.full((self.mels, self._frames(len(sound))), np.nan, dtype=np.float32)
        edge: Literal["reflect", "constant"] = "reflect" if self._chosen("edge") == "reflect" else "constant"
        padded = np.pad(sound.astype(np.float64), self._margin, mode=edge) if self._margin else sound.astype(np.float64)
        every = np.lib.stride_tricks.sliding_window_view(padded, self.n_fft)[:: self.hop][: self._frames(len(sound))]
        blocks = [every[start : start + _BLOCK] * window for start in range(0, len(every), _BLOCK)]
        amplitudes = (np.abs(np.fft.rfft(block)) for block in blocks)
        mel = np.concatenate([(amplitude**self.power) @ filters for amplitude in amplitudes])
        return self._logged(mel).T.astype(np.float32)

    def _logged(self, mel: NDArray[np.float64]) -> NDArray[np.float64]:
        if self._logarithm != "none":
            least = np.maximum(mel, self.floor)
            mel = np.log(least) if self._logarithm == "natural" else np.log10(least)
            mel = mel * 10 if self._logarithm == "db" else mel
        if self._range is not None:
            mel = np.maximum(mel, mel.max() - self._range)
        return (mel + 4) / 4 if self.convention == "whisper" else mel

    def graph(self, op: Any, inputs: Wires, samples: Any) -> dict[str, Any]:
        """The frames by their indices, the Fourier transform as a matrix of float64, the rest as it is here.

        ONNX's own STFT is float32 in ONNX Runtime, and wrong by 1 % in bands of little energy.
        """
        _, (length,) = inputs["samples"]
        if length == -1:
            raise NotImplementedError("the rows have lengths of their own")
        if self.n_fft > _LARGEST_MATRIX:
            raise NotImplementedError(
                f"an FFT of {self.n_fft} samples is faster than the matrix that a graph would need"
            )
        frames = self._frames(length)
        if frames * self.n_fft > _MOST_INDICES:
            raise NotImplementedError(f"{frames} frames would make the graph too large")
        reflected = self._chosen("edge") == "reflect"
        pads = [0, self._margin, 0, self._margin]
        wide = op.Cast(samples, to=DOUBLE)
        padded = op.Pad(wide, pads, mode="reflect") if reflected and self._margin else op.Pad(wide, pads)
        indices = np.arange(frames)[:, None] * self.hop + np.arange(self.n_fft)
        parts = op.MatMul(op.Gather(padded, indices, axis=1), _fourier(self))
        real, imaginary = op.Split(parts, axis=2, num_outputs=2, _outputs=2)
        energy = op.Add(op.Mul(real, real), op.Mul(imaginary, imaginary))
        spectrum = energy if self.power == 2 else op.Sqrt(energy)
        mel = self._logged_in_graph(op, op.MatMul(spectrum, _mel_filters(self)))
        # Nothing, or NaN where a sample is NaN or infinite.
        mel = op.Add(mel, op.Unsqueeze(op.ReduceSum(op.Mul(wide, 0.0), [1], keepdims=1), [2]))
        return {"mel": op.Cast(op.Transpose(mel, perm=[0, 2, 1]), to=FLOAT)}

    def _logged_in_graph(self, op: Any, mel: Any) -> Any:
        if self._logarithm != "none":
            mel = op.Log(op.Max(mel, self.floor))
            factor = {"natural": 1.0, "log10": 1 / math.log(10), "db": 10 / math.log(10)}[self._logarithm]
            mel = mel if factor == 1 else op.Mul(mel, factor)
        if self._range is not None:
            mel = op.Max(mel, op.Sub(op.ReduceMax(mel, [1, 2], keepdims=1), self._range))
        return op.Div(op.Add(mel, 4.0), 4.0) if self.convention == "whisper" else mel


def _window(step: LogMel) -> NDArray[np.float64]:
    """Hann, periodic, in the middle of a frame ``[n_fft]``."""
    length = step.window_length or step.n_fft
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    before = (step.n_fft - length) // 2
    return np.pad(window, (before, step.n_fft - length - before))


def _fourier(step: LogMel) -> NDArray[np.float64]:
    """Window and transform at once, ``[n_fft, 2 * bins]``: the real parts, then the imaginary ones."""
    bins = step.n_fft // 2 + 1
    turns = np.arange(step.n_fft)[:, None] * np.arange(bins) % step.n_fft
    angles = 2 * np.pi * turns / step.n_fft
    transform: NDArray[np.float64] = np.concatenate([np.cos(angles), -np.sin(angles)], axis=1)
    return np.asarray(transform * _window(step)[:, None])


def _mel_filters(step: LogMel) -> NDArray[np.float64]:
    """Triangles ``[bins, mels]`` whose corners are evenly spaced in mels."""
    scale = step._chosen("mel_scale")
    ends = _to_mel(np.array([step.lowest_hz, step._highest]), scale)
    corners = _to_hz(np.linspace(ends[0], ends[1], step.mels + 2), scale)
    frequencies = np.fft.rfftfreq(step.n_fft, 1 / step.sample_rate)[:, None]
    rising = (frequencies - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - frequencies) / (corners[2:] - corners[1:-1])
    filters: NDArray[np.float64] = np.maximum(0, np.minimum(rising, falling))
    return filters * (2 / (corners[2:] - corners[:-2])) if step._chosen("mel_norm") == "slaney" else filters


# Slaney's scale (Auditory Toolbox, 1998): 200/3 Hz a mel up to 1000 Hz, and 27 mels for each factor of 6.4 above.
_LINEAR_HZ, _KNEE_HZ, _STEP = 200 / 3, 1000.0, math.log(6.4) / 27


def _to_mel(hz: NDArray[np.float64], scale: str) -> NDArray[np.float64]:
    if scale == "htk":
        return np.asarray(2595 * np.log10(1 + hz / 700))
    above = _KNEE_HZ / _LINEAR_HZ + np.log(np.maximum(hz, _KNEE_HZ) / _KNEE_HZ) / _STEP
    return np.where(hz < _KNEE_HZ, hz / _LINEAR_HZ, above)


def _to_hz(mels: NDArray[np.float64], scale: str) -> NDArray[np.float64]:
    if scale == "htk":
        return np.asarray(700 * (10 ** (mels / 2595) - 1))
    knee = _KNEE_HZ / _LINEAR_HZ
    return np.where(mels < knee, mels * _LINEAR_HZ, _KNEE_HZ * np.exp(_STEP * (np.maximum(mels, knee) - knee)))
