# SPDX-License-Identifier: Apache-2.0
"""Measuring a served model with perf_analyzer."""
