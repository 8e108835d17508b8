# SPDX-License-Identifier: Apache-2.0
"""What XGBoost, LightGBM and CatBoost share, and the Python-backend models that answer with them."""
