"""Which processor this is, and whether machine code that was compiled on another runs here.

AOTInductor compiles with ``-march=native``: on a processor that lacks one of the instruction sets the first batch ends
in SIGILL. Comparing flags says so in words, before anything is loaded.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from serving.artifact.manifest import Machine

# The instruction sets that a compiler may emit for float code; the kernel's other flags do not matter here.
_PREFIXES = ("sse", "ssse", "avx", "fma", "f16c", "bmi", "amx", "vaes", "vpclmulqdq", "gfni", "popcnt", "movbe", "abm")
_ARM_PREFIXES = ("asimd", "sve", "bf16", "i8mm", "fp")


def cpu_flags(cpuinfo: str | None = None) -> list[str]:
    """Instruction sets of this processor, sorted; empty where /proc/cpuinfo is missing.

    Args:
        cpuinfo: the file's text, for tests.
    """
    if cpuinfo is None:
        try:
            cpuinfo = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
        except OSError:
            return []
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "flags":
            return sorted({f for f in value.split() if f.startswith(_PREFIXES)})
        if key.strip() == "Features":
            return sorted({f for f in value.split() if f.startswith(_ARM_PREFIXES)})
    return []


def mismatch(built_for: Machine, *, torch: str, arch: str | None = None, flags: list[str] | None = None) -> str:
    """Why compiled code does not run here, or "".

    Args:
        built_for: of the manifest.
        torch: version of torch here.
        arch: this machine's, for tests.
        flags: this processor's, for tests.
    """
    arch = platform.machine() if arch is None else arch
    flags = cpu_flags() if flags is None else flags
    if built_for.torch != torch:
        return f"compiled with torch {built_for.torch}, this is torch {torch}: build it again with this one"
    if built_for.arch != arch:
        return f"compiled for {built_for.arch}, this machine is {arch}: build it on a machine of this kind"
    missing = sorted(set(built_for.cpu_flags) - set(flags))
    if missing and flags:
        return f"compiled for a processor with {' '.join(missing)}, which this one lacks: build it on this machine type"
    return ""
