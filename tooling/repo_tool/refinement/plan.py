# SPDX-License-Identifier: Apache-2.0
"""What is to be done to an ONNX artifact, how much it may change for it, and what it came to."""

__all__ = ["Agreement", "Measured", "Refinement", "RefinementResult", "default_tolerance"]

from dataclasses import asdict, dataclass
from typing import Any

from repo_tool.refinement.precision import Precision
from repo_tool.verification import Parity, Tolerance

# fp16 keeps 11 bits, int8 quantises each tensor into 256 steps: the error is a share of the tensor's own size.
_SHARES = {None: 1e-4, Precision.FP16: 0.01, Precision.INT8: 0.05}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refinement:
    """What a person asked for."""

    precision: Precision | None = None
    optimize: bool = False

    @property
    def words(self) -> str:
        """As a step is called."""
        parts = [f"precision {self.precision.value}" if self.precision else "", "optimise" if self.optimize else ""]
        return " and ".join(filter(None, parts))

    def __bool__(self) -> bool:
        return self.precision is not None or self.optimize


def default_tolerance(precision: Precision | None, given: float | None) -> Tolerance:
    """What may differ: by value for the model as it is, by the output's largest value in a lower precision.

    A quantised output is off by a share of its whole range, also where a value is near zero: hence the scale.
    """
    share = _SHARES[precision] if given is None else given
    if precision is None:
        return Tolerance(absolute=share, relative=share)
    return Tolerance(absolute=0.0, relative=share, scale=share)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One artifact in this process: its files' bytes, and the median time of a run of ``rows`` rows."""

    size: int
    milliseconds: float
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """In how many rows an output chooses as the framework does: its label, or the column of its largest value."""

    output: str
    same: int
    rows: int

    @property
    def words(self) -> str:
        """In one line."""
        return f"'{self.output}' chooses the same in {self.same} of {self.rows} rows"


@dataclass(frozen=True, slots=True, kw_only=True)
class RefinementResult:
    """What became smaller or faster, and what it cost in accuracy."""

    how: tuple[str, ...]
    before: Measured
    after: Measured
    parity: Parity  # in process, to the framework's answers
    agreement: tuple[Agreement, ...] = ()  # in a lower precision, of outputs that choose among classes

    @property
    def words(self) -> str:
        """In one line, for a terminal."""
        before, after = self.before, self.after
        chosen = "".join(f", {agreement.words}" for agreement in self.agreement)
        return (
            f"{_bytes(before.size)} → {_bytes(after.size)}, {before.milliseconds:.3g} → {after.milliseconds:.3g} ms "
            f"for {after.rows} rows in process, largest difference {self.parity.largest_absolute:.2g}{chosen}"
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for the provenance."""
        return {
            "how": list(self.how),
            "before": asdict(self.before),
            "after": asdict(self.after),
            "parity": self.parity.to_dict(),
            "agreement": [asdict(agreement) for agreement in self.agreement],
        }


def _bytes(size: int) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size = size / 1024  # type: ignore[assignment]  # the last unit may be a fraction
    return f"{size:.4g} GiB"
