"""Memory that a training frees is at hand for its next step, and the kernel's again after the last."""

import platform
import resource
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from octet.quantization.allocator import keeping_freed_memory

SIZE = 64 * 2**20  # bytes: more than glibc ever keeps by itself
PAGES = SIZE // resource.getpagesize()

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told what to do")


def faults_of_taking_it_again() -> int:
    """Pages that the kernel had to provide while a tensor of that size was made and freed eight times."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(8):
        torch.ones(SIZE // 4)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_a_freed_tensor_is_taken_again_without_asking_the_kernel() -> None:
    with keeping_freed_memory():
        torch.ones(SIZE // 4)
        kept = faults_of_taking_it_again()
    assert kept < 2 * PAGES  # the blocks need not lie where the first did


def test_without_it_the_kernel_provides_every_page_anew() -> None:
    assert faults_of_taking_it_again() >= 8 * PAGES


def test_what_was_kept_goes_back_at_the_end_even_after_an_error() -> None:
    before = resident()
    with suppress(RuntimeError), keeping_freed_memory():
        torch.ones(SIZE // 4)
        raise RuntimeError
    assert resident() < before + SIZE // 2
