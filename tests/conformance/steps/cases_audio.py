# SPDX-License-Identifier: Apache-2.0
"""Cases of the steps that work on sound."""

from support.step_cases import Case

CASES: dict[str, Case] = {}
