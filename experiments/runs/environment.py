"""Describe what a process runs on: commit, versions of the packages, system and processor.

This module does not import torch, so that the analysis can use it without waiting for torch.
"""

import functools
import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "scikit-image",
    "piq",
    "pandas",
    "matplotlib",
    "snakemake",
    "typst",
)
"""The packages that make the numbers, the figures and the manuscript."""

CAPABILITIES = (
    "sse4_2 avx avx2 fma f16c avx_vnni avx512f avx512bw avx512dq avx512vl avx512_vnni avx512_bf16 avx512_fp16 amx_tile "
    "amx_int8 amx_bf16 amx_fp16 asimd asimdhp fphp bf16 sve sve2 svebf16 sme"
)
"""Instruction sets by which torch and its libraries choose their kernels. Other kernels round sums differently. The
names are those of ``/proc/cpuinfo`` on x86-64 and AArch64."""


def environment() -> dict[str, Any]:
    """Return what this process runs on, as plain values for a provenance file.

    Returns:
        ``commit`` and ``dirty``, whether tracked files differ from the commit (both None without git); ``python``;
        ``versions`` by package; ``system``; ``cpu``, the processor's name; and ``cpu_capability``, those of its
        `CAPABILITIES` that the system reports, sorted and separated by spaces (empty without ``/proc/cpuinfo``).
    """
    # Untracked files do not count: notes or data beside the code change no run, and a rule that is not tracked yet is
    # part of its run's code fingerprint.
    status = _git("status", "--porcelain", "--untracked-files=no")
    return {
        "commit": _git("rev-parse", "HEAD"),
        "dirty": None if status is None else bool(status),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_name(),
        "cpu_capability": _cpu_capability(),
    }


@functools.cache
def _git(*arguments: str) -> str | None:
    try:
        result = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, check=True, cwd=Path(__file__).parent, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()


def _cpu_name() -> str:
    return _cpuinfo().get("model name") or platform.processor()


def _cpu_capability() -> str:
    found = _cpuinfo()
    flags = found.get("flags", "") or found.get("Features", "")  # x86-64, AArch64
    return " ".join(sorted(set(CAPABILITIES.split()) & set(flags.split())))


@functools.cache
def _cpuinfo() -> dict[str, str]:
    """Return the fields of the first processor in ``/proc/cpuinfo``, by name; empty on systems without that file."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    fields: dict[str, str] = {}
    for name, separator, value in (line.partition(":") for line in lines):
        if separator:
            fields.setdefault(name.strip(), value.strip())
    return fields
