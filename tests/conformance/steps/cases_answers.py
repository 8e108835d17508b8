# SPDX-License-Identifier: Apache-2.0
"""Cases of the steps that make an answer of what a model gives."""

import numpy as np

from support.step_cases import Case

RANDOM = np.random.default_rng(3)

CASES = {
    "softmax": Case({"logits": RANDOM.normal(0, 400, (5, 10)).astype(np.float32)}),
    "top_k_labels": Case(
        {"probabilities": RANDOM.random((5, 4), dtype=np.float32)}, {"labels": ["a", "b", "c", "ü"], "k": 2}
    ),
}
