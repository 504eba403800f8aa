"""Memory that a network's activations leave behind."""

import ctypes
import sys

_MMAP_MAX, _TRIM_THRESHOLD, _TOP_PAD = -4, -1, -2
"""glibc's parameters of ``mallopt``, see malloc.h."""


def keep_freed_memory() -> None:
    """Make the C library keep large freed blocks for reuse instead of returning each to the system.

    A batch of frames makes activations of tens of megabytes, which glibc by default maps and unmaps anew in every pass;
    the page faults cost as much as the network. Two times faster passes on two cores were measured. Where the C library
    is another one, nothing happens.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_TOP_PAD, 64 * 2**20)
