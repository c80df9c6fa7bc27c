"""What all backends share: device, threads, and the revision of a model's files."""

import hashlib
from pathlib import Path

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


def files_revision(path: Path) -> str:
    """First 16 hex digits of the sha256 over a model's file, or over all files of its folder."""
    folder = path.is_dir()
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()) if folder else [path]:
        if file.suffix == ".md":  # the model card
            continue
        # In a folder, names tell the files apart; a checkpoint that is renamed stays the same.
        digest.update(file.relative_to(path).as_posix().encode() if folder else b"")
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()[:16]
