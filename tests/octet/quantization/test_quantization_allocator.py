"""Memory that a training frees is at hand for its next step, and the kernel's again after the last."""

import platform
import resource
import subprocess
import sys

import pytest

SIZE = 64 * 2**20  # bytes: more than glibc ever keeps by itself
PAGES = SIZE // resource.getpagesize()
# Says what was found: page faults while a block was taken and freed eight times, and bytes of memory afterwards. In a
# process of its own, because what has been freed before, and where, decides what malloc has to ask the kernel for.
HEAD = f"""
import resource
from contextlib import suppress
from pathlib import Path
from octet.quantization.allocator import keeping_freed_memory

def faults():
    b"x" * {SIZE}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(8):
        b"x" * {SIZE}
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
"""

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told what to do")


def said_by(program: str) -> int:
    done = subprocess.run([sys.executable, "-c", HEAD + program], stdout=subprocess.PIPE, check=True)
    return int(done.stdout)


def test_a_freed_block_is_taken_again_without_asking_the_kernel() -> None:
    kept = said_by("""
with keeping_freed_memory():
    print(faults())
""")
    assert kept < PAGES


def test_without_it_the_kernel_provides_every_page_anew() -> None:
    assert said_by("print(faults())") >= 8 * PAGES


def test_what_was_kept_goes_back_at_the_end_even_after_an_error() -> None:
    more = said_by("""
before = resident()
with suppress(RuntimeError), keeping_freed_memory():
    faults()
    raise RuntimeError
print(resident() - before)
""")
    assert more < SIZE // 2
