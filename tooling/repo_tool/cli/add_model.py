# SPDX-License-Identifier: Apache-2.0
"""``repo-tool add-model``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from repo_tool.cli.console import ConsoleProgress, console
from repo_tool.printable import printable_lines
from repo_tool.refinement.precision import Precision

if TYPE_CHECKING:
    from repo_tool.workflows.add_model import AddedModel


def add_model(
    source: Annotated[
        str,
        typer.Argument(
            help="The model: .joblib .pkl .skops .json .ubj .txt .cbm .pt2 .pt .keras .onnx .mar, a SavedModel, "
            "MLflow or BentoML folder, package.module:factory, or package.module:Class with predict."
        ),
    ],
    name: Annotated[str, typer.Option("--name", "-n", help="What Triton calls it: letters, digits, '_', '.', '-'.")],
    repository: Annotated[
        Path, typer.Option("--repository", "-r", help="The model repository; made when absent.")
    ] = Path("model_repository"),
    version: Annotated[
        int | None, typer.Option(min=1, max=2**31 - 1, help="Default: one more than the highest there.")
    ] = None,
    framework: Annotated[
        str | None,
        typer.Option(
            help="sklearn, xgboost, lightgbm, catboost, pytorch, huggingface, tensorflow, onnx or python. "
            "Default: recognised from the source."
        ),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(
            help="onnxruntime, pytorch, tensorflow, sklearn, python or fil. "
            "Default: what the framework converts to best."
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="scikit-learn: predict, predict_proba, predict_log_proba, decision_function, transform, "
            "score_samples, kneighbors or mahalanobis. Default: as it is used."
        ),
    ] = None,
    signature: Annotated[str | None, typer.Option(help="SavedModel: which one. Default: serving_default.")] = None,
    task: Annotated[
        str | None, typer.Option(help="Hugging Face folder: text-classification, token-classification, …")
    ] = None,
    trust_type: Annotated[
        list[str] | None, typer.Option("--trust-type", help="package.Class that a pickle may bring along; repeatable.")
    ] = None,
    trust_source: Annotated[
        bool, typer.Option("--trust-source", help="Load a source that is code: TorchScript, .pt2, SavedModel.")
    ] = False,
    weights: Annotated[
        Path | None, typer.Option(help="What package.module:factory is filled with: .safetensors or a state dict.")
    ] = None,
    weights_inside: Annotated[
        bool,
        typer.Option(
            "--weights-inside",
            help="package.module:factory fills the module itself: serve it as the factory builds it.",
        ),
    ] = False,
    sample: Annotated[
        Path | None,
        typer.Option("--sample", "-s", help="Rows to verify and warm up with: npz, npy, csv, parquet or json."),
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="Class names, one a line, in output order.")] = None,
    max_batch_size: Annotated[
        int | None,
        typer.Option(min=0, max=2**31 - 1, help="0 switches batching off. Default: 32 if the model can batch."),
    ] = None,
    instances: Annotated[int, typer.Option(min=1, max=1024, help="Copies of the model that run at once.")] = 1,
    cores: Annotated[
        int | None,
        typer.Option(min=1, help="Cores of the serving machine, shared by the instances. Default: this one's."),
    ] = None,
    release: Annotated[
        str | None, typer.Option(help="The Triton release it must load on, e.g. 26.07. Default: docker-compose's.")
    ] = None,
    precision: Annotated[
        Precision | None,
        typer.Option(help="Store the weights smaller: fp16, or int8 calibrated on the sample. ONNX models only."),
    ] = None,
    optimize: Annotated[
        bool, typer.Option("--optimize", help="Save the graph as ONNX Runtime optimises it. ONNX models only.")
    ] = False,
    tolerance: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Allowed difference to the framework: absolute, and relative to the value. Default: 1e-4; of the "
            "output's largest value 0.01 in fp16 and 0.05 in int8.",
        ),
    ] = None,
    unverified: Annotated[
        bool,
        typer.Option(
            "--unverified", help="Publish unproven where only a GPU server has the backend (fil); prove it there."
        ),
    ] = False,
    variants: Annotated[
        bool,
        typer.Option(
            "--variants",
            help="Also write configs/cpu.pbtxt and configs/gpu.pbtxt (TensorRT), which servers read that are started "
            "with --model-config-name. Those that are there are always renewed.",
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Do everything but publish; show config.pbtxt.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Put a trained model into the repository, proven equal to what was trained.

    It is converted, configured, validated, loaded into a real Triton and compared with its framework on the sample
    rows in batches of 1, 2, 3 and the maximum. Only then does it appear, by one rename.

    **Example:**

        repo-tool add-model churn.joblib --name churn --sample rows.csv
    """
    from repo_tool.releases import DEFAULT_RELEASE
    from repo_tool.workflows.add_model import AddModelRequest
    from repo_tool.workflows.add_model import add_model as run

    added = run(
        AddModelRequest(
            source=source,
            name=name,
            repository=repository,
            version=version,
            framework=framework,
            backend=backend,
            method=method,
            signature=signature,
            task=task,
            trusted_types=tuple(trust_type or ()),
            trusted_source=trust_source,
            weights=weights,
            weights_inside=weights_inside,
            sample=sample,
            labels=labels,
            max_batch_size=max_batch_size,
            instances=instances,
            cores=cores,
            release=release or DEFAULT_RELEASE,
            precision=precision,
            optimize=optimize,
            tolerance=tolerance,
            unverified=unverified,
            variants=variants,
            dry_run=dry_run,
        ),
        ConsoleProgress(quiet=as_json),
    )
    if as_json:
        import json

        print(json.dumps(added.to_dict(), indent=2))
        return
    _show(added)


def _show(added: "AddedModel") -> None:
    from repo_tool.cli.tensors import show_tensors

    out = console()
    if not added.published:
        out.print(added.config_text, markup=False, soft_wrap=True)
    show_tensors(added.config, added.version, added.parity)
    for field, reason in added.reasons.items():
        out.print(f"{field:<17} {printable_lines(reason)}", style="dim", markup=False, soft_wrap=True)
    for note in _notes(added):
        out.print(f"note: {printable_lines(note)}", markup=False, soft_wrap=True)
    if not added.published:
        out.print("dry run: nothing was published", style="yellow")
        return
    out.print(f"published {added.directory.version_path(added.version)}", markup=False, soft_wrap=True)
    if added.parity is None:
        command = f"repo-tool verify {added.config.name} --server URL"
        out.print(f"NOT PROVEN: {added.imported.unproven}", style="bold red", markup=False, soft_wrap=True)
        out.print(f"next: serve it on GPUs, then {command}", style="bold", markup=False, soft_wrap=True)
        return
    out.print(f"next: repo-tool serve {added.directory.path.parent}", style="bold", markup=False, soft_wrap=True)


def _notes(added: "AddedModel") -> list[str]:
    notes = list(added.imported.notes)
    if added.variants:
        proven = "proven too" if added.parity else "not proven"
        notes.append(
            f"configs/cpu.pbtxt is {proven}, configs/gpu.pbtxt is not: it needs a GPU; see --model-config-name"
        )
    if added.imported.inputs_were_generated:
        made_up = "verified on generated rows" if added.parity else "the published sample is made up"
        notes.append(f"{made_up}: give --sample FILE for real ones")
    return notes
