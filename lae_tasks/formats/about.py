"""Writes the files that tell of a release: diff, card, report, and what catalogues read."""

from pathlib import Path

from lae_tasks.config import Config
from lae_tasks.formats import card, croissant, pictures, reliability, report, stac
from lae_tasks.formats.figures import objects_of
from lae_tasks.formats.funnel import make_funnel
from lae_tasks.formats.scenes import scenes_of
from lae_tasks.formats.writing import written
from lae_tasks.releases.dataset import Dataset
from lae_tasks.releases.diff import DIFF_PATH, Diff
from lae_tasks.releases.manifest import ReleaseManifest
from lae_tasks.state import State
from lae_tasks.storage import Storage


def write(
    root: Path,
    manifest: ReleaseManifest,
    dataset: Dataset,
    config: Config,
    diff: Diff,
    store: Storage,
    state: State,
) -> None:
    """Writes them below a folder.

    Args:
        root: Where the release's tables and formats lie already.
        manifest: The release's manifest, still without its files.
        dataset: What is released.
        config: The settings.
        diff: What changed against the parent.
        store: Where the images are.
        state: What the release was made of.
    """
    objects = objects_of(dataset)
    scenes = scenes_of(dataset, objects, state)
    with (root / DIFF_PATH).open("w", encoding="utf-8", newline="\n") as file:
        diff.write(file, {"parent": manifest.parent})
    samples = _samples(root, dataset, store)
    if manifest.reliability:
        (root / card.RELIABILITY_PATH).write_bytes(reliability.render(manifest.reliability))
    funnel = make_funnel(dataset, objects, state)
    subject = report.Subject(manifest, dataset, objects, scenes, funnel, diff, config, samples)
    (root / report.PATH).write_bytes(report.render(subject))
    stac.write(root, manifest, scenes)
    croissant.write(root, manifest, config.release)
    told = card.render(
        manifest,
        config.release,
        [picture for picture, _ in samples],
        [path.as_posix() for path in written(root)],
        int(objects.by_steward.sum()),
    )
    (root / card.PATH).write_bytes(told)


def _samples(root: Path, dataset: Dataset, store: Storage) -> list[tuple[card.Picture, bytes]]:
    """Draws the card's pictures."""
    (root / "card").mkdir()
    samples = []
    for number, image in enumerate(pictures.sample_images(dataset), start=1):
        x, y, width, height = image.window_px
        caption = f"{image.scene_key}, {width} x {height} px at ({x}, {y})"
        picture = card.Picture(f"card/sample-{number}.png", caption)
        png = pictures.render(dataset, image, store)
        (root / picture.path).write_bytes(png)
        samples.append((picture, png))
    return samples
