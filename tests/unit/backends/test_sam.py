"""SAM: checkpoints of the registry and of the small model, and clear errors for wrong ones."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from segment_anything import sam_model_registry

from demo.scenes import generate_scene
from demo.stack.settings import REPO
from lae_tasks.backends.masks import check_checkpoint, load_mask_generator
from lae_tasks.config import SegmentConfig
from lae_tasks.errors import ConfigError
from lae_tasks.geometry import mask_in_window

SMALL = REPO / "demo" / "models" / "sam" / "model.safetensors"


def make_config(model_type: str, checkpoint: Path | None, **values: object) -> SegmentConfig:
    settings = {"model_type": model_type, "checkpoint": checkpoint, "device": "cpu"}
    return SegmentConfig.model_validate(settings | values)


def test_the_small_model_finds_objects() -> None:
    scene = generate_scene(1_000_003, 512)
    config = make_config(
        "small",
        SMALL,
        points_per_side=12,
        pred_iou_thresh=0.4,
        stability_score_thresh=0.7,
        stability_score_offset=0.5,
        crop_n_layers=0,
    )
    generator = load_mask_generator(config, threads=1)
    proposals = generator.generate(scene.image)
    assert proposals
    for proposal in proposals:
        x0, y0, x1, y1 = proposal.bbox_xyxy_px
        assert proposal.mask.shape == (y1 - y0, x1 - x0)
        assert proposal.mask.any(axis=0)[[0, -1]].all(), "the box is not tight"
        assert 0 <= x0 < x1 <= 512
        assert 0 <= y0 < y1 <= 512
    again = generator.generate(scene.image)
    assert [p.bbox_xyxy_px for p in again] == [p.bbox_xyxy_px for p in proposals]
    assert generator.revision.startswith("sam-small-")


def test_a_registry_checkpoint_loads_and_a_mismatched_one_does_not(tmp_path: Path) -> None:
    path = tmp_path / "sam_vit_b.pth"
    state = sam_model_registry["vit_b"](checkpoint=None).state_dict()
    torch.save(state, path)
    check_checkpoint(make_config("vit_b", path))
    generator = load_mask_generator(make_config("vit_b", path), threads=1)
    assert generator.revision.startswith("sam-vit_b-")
    with pytest.raises(ConfigError, match=r"not the weights of vit_l .*check segment\.model_type"):
        check_checkpoint(make_config("vit_l", path))
    state.pop("image_encoder.pos_embed")
    torch.save(state, path)
    with pytest.raises(ConfigError, match=r"not the weights of vit_b .*Missing .*pos_embed"):
        check_checkpoint(make_config("vit_b", path))
    with pytest.raises(ConfigError, match=r"not the weights of vit_b .*check segment\.model_type"):
        load_mask_generator(make_config("vit_b", path), threads=1)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ConfigError, match="not the weights of vit_b"):
        check_checkpoint(make_config("vit_b", path))
    for content in ([1, 2], {"a": 1}, {}):
        torch.save(content, path)
        with pytest.raises(ConfigError, match="not the weights of vit_b"):
            check_checkpoint(make_config("vit_b", path))


@pytest.mark.parametrize("content", [b"", b"errors\n", b"version https://git-lfs", b"X\x01", b"K"])
def test_a_file_of_something_else_is_no_checkpoint(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"not the weights of vit_b \((the file is empty|more)"):
        check_checkpoint(make_config("vit_b", path))


def test_weights_with_numbers_as_names_are_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save({1: torch.ones(1)}, path)
    with pytest.raises(
        ConfigError, match=r"not the weights of vit_b \(the file is empty or damaged"
    ):
        check_checkpoint(make_config("vit_b", path))


def test_a_checkpoint_of_an_old_torch_is_checked_too(tmp_path: Path) -> None:
    path = tmp_path / "old.pth"
    torch.save({"a": torch.ones(1)}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(ConfigError, match=r"not the weights of vit_b .*Missing"):
        check_checkpoint(make_config("vit_b", path))


def test_a_checkpoint_of_the_small_model_is_checked(tmp_path: Path) -> None:
    check_checkpoint(make_config("small", SMALL))
    path = tmp_path / "small.safetensors"
    path.write_bytes(SMALL.read_bytes()[:-100])
    with pytest.raises(ConfigError, match="not a readable safetensors file"):
        check_checkpoint(make_config("small", path))


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("executed"),))  # type: ignore[return-value]


def test_a_checkpoint_cannot_run_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plain, zipped = tmp_path / "plain.pth", tmp_path / "zipped.pth"
    plain.write_bytes(pickle.dumps(Malicious(), protocol=2))
    torch.save(Malicious(), zipped)
    for path in (plain, zipped):
        config = make_config("vit_b", path)
        with pytest.raises(ConfigError, match=r"not the weights of vit_b \(more than weights"):
            load_mask_generator(config, threads=1)
        with pytest.raises(ConfigError, match="not the weights of vit_b"):
            check_checkpoint(config)
    assert not (tmp_path / "executed").exists()


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="checkpoint is not set"):
        load_mask_generator(make_config("vit_h", None), threads=1)
    with pytest.raises(ConfigError, match=r"none\.pth: no such file"):
        load_mask_generator(make_config("vit_h", tmp_path / "none.pth"), threads=1)


def test_an_image_of_one_colour_is_no_error() -> None:
    black = np.zeros((64, 96, 3), np.uint8)
    config = make_config("small", SMALL, points_per_side=4, crop_n_layers=0)
    assert load_mask_generator(config, threads=1).generate(black) == []
    lenient = {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}
    config = make_config("small", SMALL, points_per_side=4, crop_n_layers=0, **lenient)
    proposals = load_mask_generator(config, threads=1).generate(black)
    assert proposals
    assert all(p.mask.any() for p in proposals)


def test_boxes_and_points_are_answered_one_by_one() -> None:
    scene = generate_scene(1_000_003, 512)
    generator = load_mask_generator(make_config("small", SMALL, points_per_batch=2), threads=1)
    boxes = [item.bbox_xyxy_px for item in scene.objects]
    middles = [((x0 + x1) / 2, (y0 + y1) / 2) for x0, y0, x1, y1 in boxes]
    prompts = [*boxes, *((x, y, x, y) for x, y in middles)]
    answers = generator.answer(scene.image, np.array(prompts, dtype=np.float32))
    assert len(answers) == 2 * len(scene.objects)
    overlaps = []
    for item, answer in zip((*scene.objects, *scene.objects), answers, strict=True):
        assert answer is not None
        placed = mask_in_window(answer.mask, answer.bbox_xyxy_px, (0, 0, 512, 512))
        truth = item.full_mask(512)
        overlaps.append(float((placed & truth).sum() / (placed | truth).sum()))
    of_boxes, of_points = np.split(np.array(overlaps), 2)
    assert of_boxes.mean() > 0.5
    assert of_points.mean() > 0.5
    assert generator.answer(scene.image, np.zeros((0, 4), np.float32)) == []
