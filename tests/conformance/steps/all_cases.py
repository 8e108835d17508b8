# SPDX-License-Identifier: Apache-2.0
"""The cases of every step, each theme in a module of its own."""

from conformance.steps import cases_answers, cases_audio, cases_images, cases_tables, cases_text

THEMES = (cases_images, cases_audio, cases_text, cases_tables, cases_answers)
CASES = {key: case for theme in THEMES for key, case in theme.CASES.items()}
