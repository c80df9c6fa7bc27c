"""Where a model's weights lie, and their revision. Loads nothing: a done shard needs no model."""

import hashlib
from pathlib import Path

from lae_tasks.config import ClassifyConfig, Config, SegmentConfig
from lae_tasks.errors import ConfigError

_LOCAL_CLIP = "local-dir:"


def require_models(config: Config) -> None:
    """Raises ConfigError if a model that a night needs is not there."""
    sam_checkpoint(config.segment)
    lvlm_folder(config.classify)
    if config.classify.clip_model:
        clip_weights(config.classify.clip_model)


def sam_checkpoint(config: SegmentConfig) -> Path:
    """SAM's checkpoint. Raises ConfigError if it is not set, or not there."""
    if config.checkpoint is None:
        raise ConfigError(
            f"segment.checkpoint is not set: give the weights of {config.model_type}, "
            "such as sam_vit_h_4b8939.pth"
        )
    if not config.checkpoint.is_file():
        raise ConfigError(f"segment.checkpoint {config.checkpoint}: no such file")
    return config.checkpoint


def lvlm_folder(config: ClassifyConfig) -> Path:
    """The vision-language model's folder; a name on the hub is looked up, and downloaded if it can.

    Raises:
        ConfigError: If it is not set, or neither a folder nor on the hub.
    """
    if config.model is None:
        raise ConfigError("classify.model is not set: give a folder or a name on the hub")
    if Path(config.model).is_dir():
        return Path(config.model)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
    )

    try:
        return Path(snapshot_download(config.model))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ConfigError(
            f"classify.model {config.model!r}: neither a folder nor a model that the hub gives: "
            f"{error}"
        ) from error


def clip_weights(name: str) -> Path:
    """CLIP's folder (`local-dir:FOLDER`), or the weights of `ARCHITECTURE/PRETRAINED`.

    Raises:
        ConfigError: If they are not there, or open_clip knows no such pair.
    """
    problem = f"classify.clip_model {name!r}"
    remedy = "use local-dir:FOLDER or ARCHITECTURE/PRETRAINED such as ViT-B-32/openai"
    if name.startswith(_LOCAL_CLIP):
        folder = Path(name.removeprefix(_LOCAL_CLIP))
        if not folder.is_dir():
            raise ConfigError(f"{problem}: no such folder; {remedy}")
        return folder
    architecture, _, pretrained = name.partition("/")
    if Path(pretrained).is_file():
        return Path(pretrained)
    from open_clip.pretrained import download_pretrained, get_pretrained_cfg

    known = get_pretrained_cfg(architecture, pretrained)
    if not known:
        raise ConfigError(f"{problem}: open_clip knows no such weights; {remedy}")
    try:
        return Path(download_pretrained(known))
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(f"{problem}: its weights cannot be downloaded: {error}") from error


def sam_revision(config: SegmentConfig) -> str:
    """What a MaskGenerator of this config is known by."""
    return f"sam-{config.model_type}-{_files_revision(sam_checkpoint(config))}"


def lvlm_revision(config: ClassifyConfig) -> str:
    """What a Classifier of this config is known by."""
    return f"lvlm-{_files_revision(lvlm_folder(config))}"


def clip_revision(name: str) -> str:
    """What a TextEmbedder of this name is known by."""
    architecture = "" if name.startswith(_LOCAL_CLIP) else f"{name.partition('/')[0]}-"
    return f"clip-{architecture}{_files_revision(clip_weights(name))}"


def _files_revision(path: Path) -> str:
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
