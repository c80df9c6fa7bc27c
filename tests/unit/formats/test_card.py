"""The card: what the hub reads of it, and what people do."""

import pytest
import yaml
from huggingface_hub import DatasetCard

from lae_tasks.config import ReleaseConfig
from lae_tasks.formats import card


def make_card(published, licence="CC-BY-4.0", files=(), **values):
    manifest = published.manifest.model_copy(update={"licence": licence, **values})
    return DatasetCard(card.render(manifest, ReleaseConfig(), [], files, 0).decode())


def test_the_hub_reads_its_head(published):
    read = DatasetCard((published.folder / card.PATH).read_text())
    head = read.data.to_dict()
    assert head["license"] == "cc-by-4.0"
    assert head["pretty_name"] == published.manifest.title
    assert head["task_categories"] == ["object-detection", "image-segmentation"]
    assert head["size_categories"] == ["n<1K"]
    assert "remote-sensing" in head["tags"]
    for config in head["configs"]:
        assert (published.folder / config["data_files"]).is_file()


@pytest.mark.parametrize(
    ("licence", "head"),
    [
        ("MIT", {"license": "mit"}),
        ("unknown", {"license": "unknown"}),
        ("Own licence, ask: us", {"license": "other", "license_name": "own-licence-ask-us"}),
        ("»«", {"license": "other", "license_name": "unnamed"}),
    ],
)
def test_a_licence_that_the_hub_does_not_know_is_another(published, licence, head):
    found = make_card(published, licence).data.to_dict()
    assert {key: found.get(key) for key in ("license", "license_name") if key in found} == head
    assert licence in make_card(published, licence).text


@pytest.mark.parametrize(
    ("images", "size"),
    [(999, "n<1K"), (1000, "1K<n<10K"), (20_000, "10K<n<100K"), (10**8, "10M<n<100M")],
)
def test_sizes_are_the_hub_s(published, images, size):
    counts = published.manifest.counts | {"images": images}
    assert make_card(published, counts=counts).data.size_categories == [size]


def test_shards_of_the_hub_s_own_format_are_the_default(published):
    shards = [
        *("hugging_face/data/train-00000.parquet", "hugging_face/data/train-00001.parquet"),
        *("hugging_face/data/validation-00000.parquet", "hugging_face/README.md"),
    ]
    default, annotations = make_card(published, files=shards).data.configs
    assert default["data_files"] == [
        {"split": "train", "path": "hugging_face/data/train-*.parquet"},
        {"split": "validation", "path": "hugging_face/data/validation-*.parquet"},
    ]
    assert annotations["config_name"] == "annotations"


def test_a_title_may_have_any_signs(published):
    text = make_card(published, title='Häfen: "a" | #1').content
    assert yaml.safe_load(text.split("---")[1])["pretty_name"] == 'Häfen: "a" | #1'


def test_it_tells_how_each_format_there_is_opened(published):
    text = (published.folder / card.PATH).read_text()
    for name in ("tables", "coco", "odvg", "images", "croissant.json", "stac"):
        assert f"- **{name}**: " in text
        assert (published.folder / name).exists()
    for name in ("yolo", "geojson", "webdataset"):
        assert f"- **{name}**: " not in text
        assert f"- **{name}**: " in make_card(published, files=[f"{name}/a"]).content


def test_it_tells_splits_and_warnings(published):
    text = make_card(published, warnings=("gates: recall: 0.4 is low",)).content
    for name, counts in published.manifest.splits.items():
        assert (
            f"| {name} | {counts['scenes']} | {counts['images']} | {counts['annotations']} |"
            in (text)
        )
    assert "- gates: recall: 0.4 is low" in text
    assert "shares its ground" not in text


def test_its_pictures_are_in_the_release(published):
    text = (published.folder / card.PATH).read_text()
    pictures = sorted(path.name for path in (published.folder / "card").iterdir())
    assert pictures
    for name in pictures:
        assert f"](card/{name})" in text
