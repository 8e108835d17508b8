# SPDX-License-Identifier: Apache-2.0
"""Where else a repository may lie: S3-compatible storage, and folders of other machines."""
