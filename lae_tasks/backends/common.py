"""What all backends share: device, threads and memory."""

import ctypes

import torch

from lae_tasks.errors import ConfigError

#: Of glibc's malloc.h. Blocks up to the first come from the heap; less free memory than the second
#: stays in it.
_MMAP_THRESHOLD, _TRIM_THRESHOLD = (-3, 32 << 20), (-1, 1 << 30)


def prepare(device: str, threads: int) -> torch.device:
    """Fixes the number of CPU threads, which results depend on, and picks the device.

    Args:
        device: `auto` (CUDA where there is one), or a torch device such as `cpu` or `cuda:1`.
        threads: CPU threads of an operation.
    """
    torch.set_num_threads(threads)
    _keep_freed_memory()
    return usable(device)


def usable(device: str) -> torch.device:
    """The device of a name. Raises ConfigError if there is no such thing, or not here."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.empty(1, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"segment.device or classify.device {device!r}: {reason}; use auto, cpu, or a cuda:N "
            "that this machine has"
        ) from error
    return found


def _keep_freed_memory() -> None:
    """Has the C library keep what a model's layer frees for the next one.

    It would give most of it back, and for every page that it takes again the kernel has to fill one
    with zeros: a fifth of the time that the demo's SAM takes, a tenth of its language model's.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc has it, musl and macOS not
    for option in (_MMAP_THRESHOLD, _TRIM_THRESHOLD):
        if set_option:
            set_option(*option)


def is_out_of_memory(error: Exception) -> bool:
    """Whether what failed may go through with less at a time."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # CPU tensors, CUDA's driver and cuBLAS have no error of their own for it.
    words = ("allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")
    return any(each in str(error) for each in words)
