"""What a worker process owes to the one that started it."""

import ctypes
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Lets the kernel end this process when the one that started it is gone.

    Without it a worker whose parent was killed lives on as an orphan: it holds the GPU and works
    beside its own retry.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
