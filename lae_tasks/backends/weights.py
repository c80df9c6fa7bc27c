"""Where a model's weights lie, and their revision. Loads nothing: a done shard needs no model."""

import hashlib
from functools import cache
from pathlib import Path

from lae_tasks.config import ClassifyConfig, Config, SegmentConfig
from lae_tasks.errors import ConfigError

_LOCAL_CLIP = "local-dir:"


def require_models(config: Config) -> None:
    """Raises ConfigError if a night's model or device is not there, or SAM's is another."""
    from lae_tasks.backends.common import usable
    from lae_tasks.backends.masks import check_checkpoint

    for device in {config.segment.device, config.classify.device}:
        usable(device)
    check_checkpoint(config.segment)
    if config.classify.namer == "local":
        lvlm_folder(config.classify)
    elif config.classify.namer == "remote":
        from lae_tasks.backends.remote import RemoteClassifier

        RemoteClassifier(config.classify)
    else:
        namer_revision(config.classify)
    if config.classify.clip_model:
        clip_weights(config.classify.clip_model)


def sam_checkpoint(config: SegmentConfig) -> Path:
    """SAM's checkpoint: a file, or for `sam2` and `sam3_tracker` a folder.

    Raises:
        ConfigError: If it is not set, not there, or has no weights.
    """
    setting = "segment.checkpoint"
    if config.checkpoint is None:
        example = "sam_vit_h_4b8939.pth"
        if config.checkpoint_is_folder:
            example = "a folder or a name on the hub"
        raise ConfigError(
            f"{setting} is not set: give the weights of {config.model_type}, such as {example}"
        )
    if config.checkpoint_is_folder:
        name = str(config.checkpoint)
        folder = _folder(name, "config.json", setting, ("*.json", "*.safetensors"))
        if not (folder / "model.safetensors").is_file():
            if (folder / "model.safetensors.index.json").is_file():
                raise ConfigError(
                    f"{setting} {folder}: weights in several files are not read; "
                    "give one model.safetensors"
                )
            raise ConfigError(
                f"{setting} {folder}: no model.safetensors in it; other weights are not read, "
                "for a pickle could run code"
            )
        return folder
    if not config.checkpoint.is_file():
        raise ConfigError(f"{setting} {config.checkpoint}: no such file")
    return config.checkpoint


def lvlm_folder(config: ClassifyConfig) -> Path:
    """The vision-language model's folder; a name on the hub is looked up, and downloaded if it can.

    Raises:
        ConfigError: If it is not set, or neither a folder nor on the hub.
    """
    if config.model is None:
        raise ConfigError("classify.model is not set: give a folder or a name on the hub")
    return _folder(config.model, "config.json", "classify.model")


def _folder(
    name: str, description: str, setting: str, files: tuple[str, ...] | None = None
) -> Path:
    """A model's folder, or that of a name on the hub, of which only `files` are downloaded."""
    if not Path(name).is_dir():
        return _hub_folder(name, setting, files)
    return _model_folder(Path(name), description, setting)


@cache  # once in a process: one shard asks several times, and the hub may move on meanwhile
def _hub_folder(name: str, setting: str, files: tuple[str, ...] | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
    )

    try:
        return Path(snapshot_download(name, allow_patterns=list(files) if files else None))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ConfigError(
            f"{setting} {name!r}: neither a folder nor a model that the hub gives: {error}"
        ) from error


def _model_folder(folder: Path, description: str, setting: str) -> Path:
    if not (folder / description).is_file():
        raise ConfigError(f"{setting} {folder}: no {description} in it, so it is no model's folder")
    return folder


def clip_weights(name: str) -> Path:
    """CLIP's folder (`local-dir:FOLDER`), or the weights of `ARCHITECTURE/PRETRAINED`.

    Raises:
        ConfigError: If they are not there, or open_clip knows no such pair.
    """
    problem = f"classify.clip_model {name!r}"
    remedy = "use local-dir:FOLDER or ARCHITECTURE/PRETRAINED such as ViT-B-32/openai"
    if name.startswith(_LOCAL_CLIP):
        folder = Path(name.removeprefix(_LOCAL_CLIP))
        return _model_folder(folder, "open_clip_config.json", "classify.clip_model")
    architecture, _, pretrained = name.partition("/")
    if Path(pretrained).is_file():
        return Path(pretrained)
    from open_clip.pretrained import download_pretrained, get_pretrained_cfg

    known = get_pretrained_cfg(architecture, pretrained)
    if not known:
        raise ConfigError(f"{problem}: open_clip knows no such weights; {remedy}")
    try:
        return Path(download_pretrained(known))  # at once, if it was downloaded before
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(f"{problem}: its weights cannot be downloaded: {error}") from error


def sam_revision(config: SegmentConfig) -> str:
    """What a MaskGenerator of this config is known by."""
    return f"sam-{config.model_type}-{_files_revision(sam_checkpoint(config))}"


def namer_revision(config: ClassifyConfig) -> str:
    """What a Classifier of this config is known by.

    Raises:
        ConfigError: If its model is not set, or not there. A server is not asked.
    """
    if config.namer == "clip":
        return f"namer-{clip_revision(config.clip_model or '')}"
    if config.namer == "local":
        return f"lvlm-{_files_revision(lvlm_folder(config))}"
    if not config.model:
        raise ConfigError("classify.model is not set: give the name that the server has for it")
    revision = config.remote.model_revision if config.remote else ""
    return f"remote-{config.model}" + (f"@{revision}" if revision else "")


def clip_revision(name: str) -> str:
    """What a TextEmbedder of this name is known by."""
    architecture = "" if name.startswith(_LOCAL_CLIP) else f"{name.partition('/')[0]}-"
    return f"clip-{architecture}{_files_revision(clip_weights(name))}"


def _files_revision(path: Path) -> str:
    """First 16 hex digits of the sha256 over a model's file, or over all files of its folder."""
    if not path.is_dir():
        return hashlib.sha256(_file_digest(*_stamp(path))).hexdigest()[:16]
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        name = file.relative_to(path)
        # The model card says nothing of the weights, nor does what a download leaves hidden.
        if file.suffix != ".md" and not any(part.startswith(".") for part in name.parts):
            digest.update(name.as_posix().encode() + _file_digest(*_stamp(file)))
    return digest.hexdigest()[:16]


def _stamp(file: Path) -> tuple[Path, int, int]:
    facts = file.stat()
    return file, facts.st_size, facts.st_mtime_ns


@cache  # weights are large, and every shard asks
def _file_digest(file: Path, _size: int, _mtime_ns: int) -> bytes:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").digest()
