# SPDX-License-Identifier: Apache-2.0
"""Typed client code from a repository: what a model takes and gives, rendered in a language."""
