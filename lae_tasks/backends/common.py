"""What all backends share: device and threads."""

import torch

from lae_tasks.errors import ConfigError


def prepare(device: str, threads: int) -> torch.device:
    """Fixes the number of CPU threads, which results depend on, and picks the device.

    Args:
        device: `auto` (CUDA where there is one), or a torch device such as `cpu` or `cuda:1`.
        threads: CPU threads of an operation.
    """
    torch.set_num_threads(threads)
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
