# SPDX-License-Identifier: MPL-2.0
"""Defaults that all clients share."""
import os


def bootstrap_default() -> str:
    return os.environ.get("WEFT_BOOTSTRAP") or "tcp://127.0.0.1:9650"
