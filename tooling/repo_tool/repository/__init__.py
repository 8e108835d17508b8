# SPDX-License-Identifier: Apache-2.0
"""The model repository on disk: where things lie, and how a model becomes visible in it."""
