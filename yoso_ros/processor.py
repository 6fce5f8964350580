# SPDX-License-Identifier: Apache-2.0
"""The processor of this machine: its name, its cores, and the instructions that decide which engine is fast."""

import functools
import os
import platform
from pathlib import Path

# Name for people: what Linux calls it on x86.
FEATURES = {
    "AVX2": ("avx2",),
    "AVX-512": ("avx512f",),
    "VNNI": ("avx512_vnni", "avx_vnni"),
    "bfloat16": ("avx512_bf16", "amx_bf16"),
}


def processor_name() -> str:
    """Its model, as the system tells it."""
    return _line_of_cpuinfo("model name") or platform.processor() or platform.machine()


def processor_features() -> dict[str, bool]:
    """Which of `FEATURES` it has; empty where that is unknown, as on other processors than x86."""
    flags = set(_line_of_cpuinfo("flags").split())
    return {name: not flags.isdisjoint(names) for name, names in FEATURES.items()} if flags else {}


def bfloat16_is_fast() -> bool | None:
    """Whether bfloat16 is faster than float32 here: with AMX, or with AVX512_BF16 on processors other than Intel's.

    Intel's AVX512_BF16 has no more operations per cycle than float32 (docs/engines.md). None where that is unknown.
    """
    flags = set(_line_of_cpuinfo("flags").split())
    if not flags:
        return None
    return "amx_bf16" in flags or ("avx512_bf16" in flags and _line_of_cpuinfo("vendor_id") != "GenuineIntel")


def processor_line() -> str:
    """All of it in one line, for the caption of a measurement."""
    features = processor_features()
    has, lacks = ([name for name, present in features.items() if present is wanted] for wanted in (True, False))
    parts = [processor_name(), f"{os.cpu_count()} cores", *has, *(f"no {name}" for name in lacks)]
    return ", ".join(parts)


@functools.cache
def _line_of_cpuinfo(name: str) -> str:
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.is_file() else ():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""
