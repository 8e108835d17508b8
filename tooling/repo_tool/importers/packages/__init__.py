# SPDX-License-Identifier: Apache-2.0
"""Models packed for another serving tool."""
