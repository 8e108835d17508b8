# SPDX-License-Identifier: Apache-2.0
"""The processing steps that ship with repo-tool, one file each.

A step's file is copied beside the generated Python-backend model, so it imports numpy and what it needs of the list
in ``deploy/triton/requirements.txt`` (large packages inside the functions), and nothing of ours. It holds one public
class, named like the file (``decode_image.py``: ``DecodeImage``), a frozen dataclass:

fields
    The parameters of the step. Their annotations are what a pipeline file is checked against, so they say as much as
    they can (``Literal``, ``list[float]``).
    A field of the type ``Path`` is a file that goes with the pipeline: it is found beside the pipeline file and copied
    beside the generated model. ``__post_init__`` raises ``ValueError`` for what can never work.

``run(self, tensor, ...)``
    Takes the arrays of its input tensors by the names of its arguments and returns its outputs by name. A tensor whose
    dims are all fixed is one array whose first dimension counts the rows; one with a free dim (-1) is a list of arrays,
    one for each row, and so is an output that ``outputs`` announces with a free dim. BYTES are object arrays of
    ``bytes``. A row it cannot process is a ``ValueError`` that starts with ``row N:``, counted from 0; any other
    exception counts as a fault of the step. It changes none of the arrays that it is given: others read them too.
    A step whose parameters name its inputs takes them as ``**tensors``, and has ``input_names(self)``, their names.

``outputs(self, inputs)``
    Takes and gives ``{tensor: (datatype, dims)}``, wire names and dims of one row, so that wires are typed before
    anything runs. What can never work is a ``ValueError`` that names the tensor, what it must be and what it is.

``graph(self, op, inputs, tensor, ...)``, where the step is arithmetic
    The same as ``run`` as nodes of an ONNX graph of opset 18 or newer: ``op`` is onnxscript's ``OpBuilder``
    (``op.Div(value, 255.0)``), which here takes numpy arrays and lists of text too; ``inputs`` is what ``outputs``
    takes; each tensor is an ONNX value whose first dimension counts the rows. It gives values by the names of the
    outputs. Where the parameters ask for what a graph cannot do it raises ``NotImplementedError`` with the reason,
    which ``repo-tool pipeline explain`` shows.

``warm(self)``, where something large is read or imported
    Called once when the generated model starts, so that no request waits for it. ``run`` works without it, too.

``packages`` and ``heavy``: class variables
    The packages that it imports beside numpy, as in ``deploy/triton/requirements.txt``; whether a row costs a
    millisecond or more, so that an instance for each core is worth its memory.
"""
