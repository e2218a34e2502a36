"""What glibc does with freed memory; other systems are left as they are."""

import ctypes
import platform


def _glibc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None


def keep_freed_memory() -> None:
    """Let glibc keep freed memory instead of giving it back to the kernel after each layer.

    A training step on a CPU allocates and frees gigabytes; returning them costs a page fault per
    4 KiB the next time, which can be most of the step.
    """
    if glibc := _glibc():
        trim_threshold, top_pad, mmap_max = -1, -2, -4
        glibc.mallopt(mmap_max, 0)
        glibc.mallopt(trim_threshold, -1)
        glibc.mallopt(top_pad, 1 << 30)


def give_back_freed_memory() -> None:
    """Let glibc give back to the kernel what is free now, which it would keep."""
    if glibc := _glibc():
        glibc.malloc_trim(0)
