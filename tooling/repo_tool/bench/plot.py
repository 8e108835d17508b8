# SPDX-License-Identifier: Apache-2.0
"""A measurement as a picture: throughput and latency over concurrency, 1800 x 900 pixels, readable at 1200."""

__all__ = ["draw", "require_matplotlib"]

from pathlib import Path
from typing import TYPE_CHECKING

from repo_tool.bench.result import BenchResult, Level
from repo_tool.errors import needs_extra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIZE_INCHES, _DPI = (12.0, 6.0), 150

# Okabe and Ito's palette: apart for every kind of colour vision. Markers differ too, for prints without colour.
_BLUE, _GREEN, _ORANGE, _VERMILLION = "#0072B2", "#009E73", "#E69F00", "#D55E00"
_INK, _PALE = "#222222", "#6B6B6B"
_PERCENTILES = (("p99", _VERMILLION, "^"), ("p95", _ORANGE, "s"), ("p50", _GREEN, "o"))


def require_matplotlib() -> None:
    """Look for matplotlib before minutes are spent on measuring.

    Raises:
        MissingExtraError: it is not installed.
    """
    with needs_extra("bench"):
        import matplotlib.figure  # noqa: F401 - only whether it is there


def draw(result: BenchResult, path: Path) -> None:
    """Write the plot of ``result`` to ``path`` (PNG).

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    with needs_extra("bench"):
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    with rc_context({"font.size": 11, "axes.edgecolor": "#BBBBBB", "text.color": _INK, "axes.labelcolor": _INK}):
        figure = Figure(figsize=_SIZE_INCHES, dpi=_DPI, facecolor="white")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2)
        figure.subplots_adjust(left=0.085, right=0.965, top=0.79, bottom=0.14, wspace=0.22)
        _title(figure, result)
        _throughput(left, result)
        _latency(right, result)
        _footnote(figure, result)
        # matplotlib notes its version in the file; without it the same figures give the same bytes for longer.
        figure.savefig(path, metadata={"Software": None})


def _title(figure: "Figure", result: BenchResult) -> None:
    plan, model = result.plan, result.model
    rows = f"batch of {plan.batch_size}" if plan.batch_size > 1 else "one row per request"
    kind = "ensemble" if model.steps else f"{model.backend} backend"
    protocol = {"grpc": "gRPC", "http": "HTTP"}[plan.server.protocol]
    how = f"version {model.version}, {kind}   ·   {protocol}, {rows}"
    figure.text(0.025, 0.945, model.name, fontsize=18, fontweight="bold", va="center")
    figure.text(0.025, 0.885, f"{how}   ·   {result.machine.summary()}", fontsize=11, color=_PALE, va="center")


def _throughput(axes: "Axes", result: BenchResult) -> None:
    _line(axes, result.levels, [level.throughput_per_s for level in result.levels], color=_BLUE, marker="o", label="")
    axes.set_ylim(0, result.best.throughput_per_s * 1.15)
    axes.yaxis.set_major_formatter(lambda value, _position: f"{value:,.10g}")
    axes.set_ylabel("rows per second", labelpad=8)
    _dress(axes, result, "Throughput")
    knee, best = result.knee, result.best
    if best is knee:
        _note(axes, best, "best and knee", above=True)
        return
    _note(axes, best, "best", above=True)
    _note(axes, knee, "knee", above=False)  # the curve bends over it, so there is room below


def _note(axes: "Axes", level: Level, name: str, *, above: bool) -> None:
    value = f"{level.throughput_per_s:,.0f}" if level.throughput_per_s >= 100 else f"{level.throughput_per_s:.3g}"
    axes.annotate(
        f"{name}: {value}/s", (level.concurrency, level.throughput_per_s), textcoords="offset points", color=_BLUE,
        xytext=(14, 12) if above else (8, -10), ha="right" if above else "left", va="bottom" if above else "top",
        fontweight="bold", bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5, "alpha": 0.9}, zorder=5,
    )  # fmt: skip


def _latency(axes: "Axes", result: BenchResult) -> None:
    for name, color, marker in _PERCENTILES:
        heights = [getattr(level, f"{name}_us") / 1000 for level in result.levels]
        _line(axes, result.levels, heights, color=color, marker=marker, label=name)
    _log_heights(axes, result)
    axes.set_ylabel("milliseconds (log scale)", labelpad=8)
    _dress(axes, result, "Latency of a request")
    axes.legend(frameon=False, loc="upper left", fontsize=11, handlelength=2.2)


def _log_heights(axes: "Axes", result: BenchResult) -> None:
    """Latency grows with concurrency as soon as the server is busy: straight lines on two log axes."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_yscale("log")
    lowest = min(level.p50_us for level in result.levels) / 1000
    highest = max(level.p99_us for level in result.levels) / 1000
    axes.set_ylim(lowest / 1.6, highest * 1.8)
    axes.yaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(lambda value, _position: f"{value:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def _line(
    axes: "Axes", levels: tuple[Level, ...], heights: list[float], *, color: str, marker: str, label: str
) -> None:
    points = sorted(zip([level.concurrency for level in levels], heights, levels, strict=True), key=lambda one: one[0])
    where, values = [point[0] for point in points], [point[1] for point in points]
    axes.plot(where, values, color=color, linewidth=2.2, marker=marker, markersize=7, label=label, zorder=3)
    shaky = [point for point in points if not point[2].stable]
    axes.plot(
        [point[0] for point in shaky], [point[1] for point in shaky], linestyle="none", marker=marker, markersize=7,
        markerfacecolor="white", markeredgecolor=color, markeredgewidth=1.8, zorder=4,
    )  # fmt: skip


def _dress(axes: "Axes", result: BenchResult, title: str) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator

    levels = sorted(level.concurrency for level in result.levels)
    axes.set_xscale("log", base=2)
    axes.set_xlim(levels[0] / 1.35, levels[-1] * 1.35)
    axes.xaxis.set_major_locator(FixedLocator(_apart(levels)))
    axes.xaxis.set_major_formatter(lambda value, _position: f"{value:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("concurrency (requests in flight)")
    axes.set_title(title, loc="left", fontsize=13, fontweight="bold", pad=10)
    axes.grid(axis="y", color="#E6E6E6", linewidth=0.9)
    axes.axvline(result.knee.concurrency, color="#BBBBBB", linestyle=(0, (3, 3)), linewidth=1.2, zorder=1)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(which="both", length=0, colors=_PALE)
    axes.set_axisbelow(True)


def _apart(levels: list[int]) -> list[int]:
    """The levels that can be written under a log axis without touching one another."""
    kept = levels[:1]
    for level in levels[1:]:
        if level >= kept[-1] * 1.28:
            kept.append(level)
    return kept


def _footnote(figure: "Figure", result: BenchResult) -> None:
    notes = ["dashed: the knee, the lowest concurrency within 10 % of the best throughput"]
    if not all(level.stable for level in result.levels):
        notes.append("hollow: windows that did not settle")
    when = result.started_at.strftime("%Y-%m-%d")
    figure.text(0.025, 0.028, "   ·   ".join(notes), fontsize=9, color=_PALE)
    tool = f"Triton {result.triton_version}, perf_analyzer {result.perf_analyzer_version}, {when}"
    figure.text(0.965, 0.028, tool, fontsize=9, color=_PALE, ha="right")
