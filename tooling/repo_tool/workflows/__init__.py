# SPDX-License-Identifier: Apache-2.0
"""What the commands do, without a terminal: each takes plain values and reports its steps."""
