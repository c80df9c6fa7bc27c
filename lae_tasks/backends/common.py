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
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"device {device!r}: use auto, cpu or cuda:N") from error
