"""The properties of a machine that affect speed."""

from __future__ import annotations

import os
import pathlib
import platform
import subprocess
from typing import Any


def machine(threads: int, blas: str) -> dict[str, Any]:
    """Return the properties of this machine that affect speed."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "blas": blas,
        **_gpu(),
    }


def _gpu() -> dict[str, str]:
    """Return the models and the driver of this machine's NVIDIA GPUs; empty if there is none."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return {}
    rows = [line.rpartition(", ") for line in done.stdout.splitlines() if ", " in line]
    return {"gpu": ", ".join(name for name, _, _ in rows), "driver": rows[0][2]} if rows else {}


def _processor() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    vectors = " with AVX-512" if "avx512f" in fields.get("flags", "").split() else ""
    return fields.get("model name", platform.machine()) + vectors
