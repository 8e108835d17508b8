# SPDX-License-Identifier: Apache-2.0
"""Model configurations: frozen values, their derivation from a signature, and config.pbtxt."""
