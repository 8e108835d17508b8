# SPDX-License-Identifier: Apache-2.0
"""The processing steps that ship with repo-tool, one file each.

A step's file is copied beside the generated Python-backend model, so it imports numpy and what it needs of the list in
``deploy/triton/requirements.txt``, and nothing of ours. It holds two functions:

``run(tensor, ..., *, parameter, ...)``
    Takes the arrays of its input tensors, whose first dimension counts the rows, and returns its outputs by name. The
    keyword-only arguments are the step's parameters; their annotations are what a pipeline file is checked against. A
    row it cannot process is a ``ValueError`` that starts with ``row N:``.

``outputs(inputs, *, parameter, ...)``
    Takes and gives ``{tensor: (datatype, dims)}``, wire names and shapes of one row, so that wires are typed before
    anything runs. What can never work is a ``ValueError``.
"""
