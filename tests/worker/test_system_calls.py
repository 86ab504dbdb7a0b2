"""The numbers of system calls are the kernel's, on machines that no test ever ran on too."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from worker.sandbox.syscalls import numbers

# Debian's linux-libc-dev has both on every machine; the first is x86-64's alone.
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}


@pytest.mark.parametrize("machine", HEADERS)
def test_the_numbers_are_those_of_the_kernels_headers(machine: str) -> None:
    if not HEADERS[machine].exists():
        pytest.skip("the kernel's headers are not installed")
    defined = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", HEADERS[machine].read_text(encoding="utf-8")))
    ours = numbers(machine)
    known = {name: number for name, number in ours.items() if name in defined}
    assert known == {name: int(defined[name]) for name in known}
    # Calls that are younger than the headers.
    assert ours.keys() - known.keys() <= {"fchmodat2", "setxattrat", "removexattrat", "file_setattr"}
