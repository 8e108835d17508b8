# SPDX-License-Identifier: Apache-2.0
"""PyTorch modules of ``torch_architectures`` with random weights: by factory, as exported programs, as TorchScript."""

__all__ = ["cases"]

import importlib.util
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from support.zoo import ZooCase, ZooSource

FAMILY = "PyTorch"
ARCHITECTURES = "torch_architectures"
HERE = Path(__file__).parent
ROWS = 5


@dataclass(frozen=True, kw_only=True)
class Row:
    """An input of one row: its shape, and below which integer its values are; bool below 2, floats without a limit."""

    shape: tuple[int, ...]
    below: int | None = None


@dataclass(frozen=True, kw_only=True)
class Architecture:
    inputs: Mapping[str, Row]
    rows: int = ROWS
    free: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # further free axes of an exported program


def real(*shape: int) -> Row:
    return Row(shape=shape)


def whole(below: int, *shape: int) -> Row:
    return Row(shape=shape, below=below)


def true_or_false(*shape: int) -> Row:
    return Row(shape=shape, below=2)


MODULES = {
    "Mlp": Architecture(inputs={"input": real(8)}),
    "ConvNet": Architecture(inputs={"pixels": real(1, 14, 14)}),
    "ResNet": Architecture(inputs={"pixels": real(3, 32, 32)}),
    "SqueezeExcite": Architecture(inputs={"pixels": real(3, 12, 12)}),
    "ConvNext": Architecture(inputs={"pixels": real(3, 16, 16)}),
    "UNet": Architecture(inputs={"image": real(3, 16, 16)}),
    "Upsampler": Architecture(inputs={"image": real(1, 8, 6)}),
    "Generator": Architecture(inputs={"noise": real(6)}),
    "Vae": Architecture(inputs={"values": real(12)}),
    "LstmClassifier": Architecture(inputs={"tokens": whole(30, 7)}),
    "GruTagger": Architecture(inputs={"tokens": whole(30, 7)}),
    "StatefulLstm": Architecture(inputs={"values": real(1, 4), "hidden": real(1, 5), "cell": real(1, 5)}),
    "SequenceFirst": Architecture(inputs={"values": real(3, 4)}),
    "UnrolledCells": Architecture(inputs={"values": real(6, 4)}),
    "TransformerEncoder": Architecture(inputs={"tokens": whole(30, 7), "mask": true_or_false(7)}),
    "EncoderDecoder": Architecture(inputs={"source": whole(30, 7), "target": whole(30, 5)}),
    "CausalAttention": Architecture(inputs={"ids": whole(40, 9)}),
    "CrossAttention": Architecture(inputs={"query": real(4, 8), "memory": real(6, 8)}),
    "RotaryAttention": Architecture(inputs={"query": real(5, 8), "key": real(5, 8)}),
    "VisionTransformer": Architecture(inputs={"pixels": real(3, 16, 16)}),
    "TwoTower": Architecture(inputs={"user": whole(50), "item": whole(80)}),
    "BagOfWords": Architecture(inputs={"words": whole(30, 6)}),
    "WideAndDeep": Architecture(inputs={"numbers": real(4), "kind": whole(9), "member": true_or_false()}),
    "FactorizationMachine": Architecture(inputs={"fields": whole(60, 5)}),
    "TemporalConvolution": Architecture(inputs={"series": real(3, 20)}),
    "WaveGate": Architecture(inputs={"wave": real(2, 20)}),
    "MixtureOfExperts": Architecture(inputs={"values": real(6)}),
    "GraphConvolution": Architecture(inputs={"nodes": real(6, 5), "edges": true_or_false(6, 6)}),
    "PointNet": Architecture(inputs={"cloud": real(12, 3)}),
    "Detector": Architecture(inputs={"pixels": real(3, 16, 16)}),
    "Ranker": Architecture(inputs={"candidates": real(7, 4)}),
    "Siamese": Architecture(inputs={"left": real(6), "right": real(6)}),
    "CouplingFlow": Architecture(inputs={"values": real(4)}),
    "SpatialTransformer": Architecture(inputs={"image": real(1, 8, 8)}),
    "Spectrogram": Architecture(inputs={"wave": real(64)}),
    "Branching": Architecture(inputs={"values": real(4)}, rows=1),
    "NonZero": Architecture(inputs={"values": whole(3, 4)}),
    "Masked": Architecture(inputs={"scores": real(6), "allowed": true_or_false(6)}),
    "Integers": Architecture(inputs={"ids": whole(90, 4), "shift": whole(90, 4)}),
    "Statistics": Architecture(inputs={"series": real(11)}),
    "double_mlp": Architecture(inputs={"input": real(8)}),
    "half_mlp": Architecture(inputs={"input": real(8)}),
}
AS_SCRIPT_BY_CHOICE = ("GruTagger", "UNet", "Detector", "CrossAttention", "TwoTower")
EXPORTED = {"ResNet": {}, "Vae": {}, "TransformerEncoder": {"tokens": (1,), "mask": (1,)}, "UNet": {}, "Mlp": {}}
TRACED = ("ConvNet", "LstmClassifier", "CouplingFlow", "UNet")
SCRIPTED = ("Branching", "UnrolledCells", "Integers")


def cases() -> Iterable[ZooCase]:
    """Every module as a factory; some as what PyTorch saves."""
    for name, architecture in MODULES.items():
        yield _case(name, partial(_factory, name, architecture))
    for name in AS_SCRIPT_BY_CHOICE:
        yield _case(f"{name} (--backend pytorch)", partial(_factory, name, MODULES[name], backend="pytorch"))
    for name, free in EXPORTED.items():
        yield _case(f"{name} (.pt2)", partial(_exported, name, MODULES[name], free))
    for name in TRACED:
        yield _case(f"{name} (traced)", partial(_script, name, MODULES[name], traced=True))
    for name in SCRIPTED:
        yield _case(f"{name} (scripted)", partial(_script, name, MODULES[name], traced=False))


def _case(name: str, build: Any) -> ZooCase:
    return ZooCase(family=FAMILY, name=name, build=build)


def _module(name: str) -> Any:
    import torch

    spec = importlib.util.spec_from_file_location(ARCHITECTURES, HERE / f"{ARCHITECTURES}.py")
    assert spec is not None
    assert spec.loader is not None
    architectures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(architectures)
    torch.manual_seed(7)
    module = getattr(architectures, name)().eval()
    with torch.no_grad():  # what a real model has: no statistics of zero and one, no classes alike
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter, dtype=torch.float32) * 0.3)
    return module


def _rows(architecture: Architecture, folder: Path) -> tuple[dict[str, Any], Path]:
    random = np.random.default_rng(7)
    rows: dict[str, Any] = {}
    for name, row in architecture.inputs.items():
        shape = (architecture.rows, *row.shape)
        values = random.standard_normal(shape) if row.below is None else random.integers(0, row.below, shape)
        rows[name] = values > 0 if row.below == 2 else values.astype(np.float32 if row.below is None else np.int64)
        if row.below == 2 and row.shape:
            rows[name][:, 0] = True  # a mask that leaves nothing has no mean
    np.savez(folder / "rows.npz", **rows)
    return rows, folder / "rows.npz"


def _factory(name: str, architecture: Architecture, folder: Path, **options: Any) -> ZooSource:
    from safetensors.torch import save_file

    _, sample = _rows(architecture, folder)
    weights = _module(name).state_dict()
    if weights:
        save_file(weights, folder / "model.safetensors")
        options["weights"] = folder / "model.safetensors"
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([*filter(None, known), str(HERE)]))
    return ZooSource(source=f"{ARCHITECTURES}:{name}", sample=sample, options=options)


def _tensors(rows: dict[str, Any]) -> dict[str, Any]:
    import torch

    return {name: torch.from_numpy(array) for name, array in rows.items()}


def _exported(name: str, architecture: Architecture, free: dict[str, tuple[int, ...]], folder: Path) -> ZooSource:
    import torch

    rows, sample = _rows(architecture, folder)
    auto = torch.export.Dim.AUTO
    shapes = {given: dict.fromkeys((0, *free.get(given, ())), auto) for given in rows}
    program = torch.export.export(_module(name), tuple(_tensors(rows).values()), dynamic_shapes=shapes)
    torch.export.save(program, folder / "model.pt2")
    return ZooSource(source=str(folder / "model.pt2"), sample=sample, options={"trusted_source": True})


def _script(name: str, architecture: Architecture, folder: Path, *, traced: bool) -> ZooSource:
    import torch

    rows, sample = _rows(architecture, folder)
    module = _module(name)
    given = tuple(_tensors(rows).values())
    script = torch.jit.trace(module, given, strict=False) if traced else torch.jit.script(module)
    script.save(folder / "model.pt")
    return ZooSource(source=str(folder / "model.pt"), sample=sample, options={"trusted_source": True})
