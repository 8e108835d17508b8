# SPDX-License-Identifier: Apache-2.0
"""Model repositories elsewhere: S3-compatible object stores, and folders that anything may carry on."""
