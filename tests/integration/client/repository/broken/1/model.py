# SPDX-License-Identifier: Apache-2.0
raise ImportError("this model never loads")
