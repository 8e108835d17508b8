# SPDX-License-Identifier: Apache-2.0
"""What stands between a foreign file and this machine."""
