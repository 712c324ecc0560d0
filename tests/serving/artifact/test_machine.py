from __future__ import annotations

from serving.artifact.machine import cpu_flags, mismatch
from serving.artifact.manifest import Machine

BUILT = Machine(torch="2.13.0+cpu", arch="x86_64", cpu_flags=["avx2", "avx512f"])


def test_the_same_machine_fits():
    assert mismatch(BUILT, torch="2.13.0+cpu", arch="x86_64", flags=["avx2", "avx512f", "fma"]) == ""


def test_another_torch_architecture_or_processor_is_named():
    assert "torch 2.12.0" in mismatch(BUILT, torch="2.12.0", arch="x86_64", flags=["avx2", "avx512f"])
    assert "aarch64" in mismatch(BUILT, torch="2.13.0+cpu", arch="aarch64", flags=["avx2", "avx512f"])
    assert "with avx512f, which" in mismatch(BUILT, torch="2.13.0+cpu", arch="x86_64", flags=["avx2"])


def test_flags_are_read_from_the_kernel():
    assert cpu_flags("model name : x\nflags\t\t: fpu sse2 avx2 syscall fma\n") == ["avx2", "fma", "sse2"]
    assert cpu_flags("Features\t: fp asimd crc32 sve\n") == ["asimd", "fp", "sve"]
    assert cpu_flags("") == []
