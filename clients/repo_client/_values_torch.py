# SPDX-License-Identifier: Apache-2.0
"""Tensors of torch on the CPU, whose memory is read where it lies."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from repo_client._datatypes import BFLOAT16_BITS
from repo_client._refusals import Target, wrong_type


def read_torch(tensor: Any, target: Target) -> NDArray[Any]:
    """A view of the tensor; what gradients it needs is forgotten.

    Raises:
        DatatypeError: it is not on the CPU, or not dense; or no tensor at all.
    """
    import torch

    if not isinstance(tensor, torch.Tensor):
        raise wrong_type(target, f"a value of type {type(tensor).__name__}", hint="pass a tensor")
    if tensor.device.type != "cpu":
        raise wrong_type(target, f"a torch tensor on device {tensor.device}", hint="copy it first: tensor.cpu()")
    if tensor.layout is not torch.strided or tensor.is_quantized:
        hint = "pass tensor.to_dense(), or tensor.dequantize()"
        raise wrong_type(target, "a torch tensor that is sparse or quantized", hint=hint)
    if tensor.dtype is torch.bfloat16:
        return _read_bfloat16(tensor.detach(), target)
    try:
        return np.asarray(tensor.detach().resolve_conj().resolve_neg().numpy())
    except (TypeError, RuntimeError) as error:  # e.g. float8, or a nested tensor
        received = f"a torch tensor of {tensor.dtype}"
        raise wrong_type(target, received, hint=f"numpy cannot read it; torch says: {error}") from error


def _read_bfloat16(tensor: Any, target: Target) -> NDArray[Any]:
    import torch

    if target.datatype.name == "BF16":
        return np.asarray(tensor.view(torch.int16).numpy().view(BFLOAT16_BITS))
    if target.datatype.numpy.kind == "f" and target.cast == "same_kind":
        return np.asarray(tensor.float().numpy())
    raise wrong_type(target, "a torch tensor of bfloat16", hint='pass tensor.float(), or cast="same_kind" for floats')
