"""Config: presets, overrides, and errors that name line, key and remedy."""

import warnings
from pathlib import Path

import pytest
from PIL import Image
from pydantic import ValidationError
from segment_anything.utils.amg import build_all_layer_point_grids

from lae_tasks.config import (
    AnnotationSource,
    ClassifyConfig,
    RouteConfig,
    SegmentConfig,
    TileConfig,
)
from lae_tasks.config_file import load_config, preset_names
from lae_tasks.errors import ConfigError


def write(folder: Path, text: str) -> Path:
    path = folder / "lae.yaml"
    path.write_text(text)
    return path


MINIMAL = "preset: lae-paper\nraw: raw\nstore: s3://bucket/store\n"


def test_the_paper_preset_is_the_papers(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, MINIMAL))
    assert (config.tile.size_px, config.tile.overlap_px) == (1024, 0)
    segment = config.segment
    assert (segment.model_type, segment.points_per_side, segment.crop_n_layers) == ("vit_h", 32, 1)
    assert (segment.pred_iou_thresh, segment.stability_score_thresh) == (0.86, 0.92)
    assert (segment.min_mask_region_area, segment.max_regions) == (10_000, 10)
    route = config.route
    assert (route.merge_similarity, route.nms_iou, route.nms_measure) == (0.92, 0.5, "iou")
    assert route.score == "likelihood_said"
    told = [(str(rule.then), rule.reason) for rule in route.rules]
    assert ("reject", "likelihood as said is below 0.9") in told
    assert ("reject", "the model did not recognize it") in told
    assert [rule.rule for rule in route.rules if rule.then == "reject"] == [
        "blocked",
        "unrecognized",
        "likelihood_below",
    ]


def test_a_file_wins_over_its_preset_and_an_override_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    path = write(tmp_path, MINIMAL + "segment:\n  points_per_side: 8\n")
    config = load_config(path, store="elsewhere")
    assert config.segment.points_per_side == 8
    assert config.segment.pred_iou_thresh == 0.86
    assert config.store == str(tmp_path / "work" / "elsewhere")


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "clip").mkdir()
    text = (
        MINIMAL + "segment:\n  checkpoint: sam.pth\n"
        "classify:\n  clip_model: local-dir:clip\n  model: org/x\n"
    )
    config = load_config(write(tmp_path, text))
    assert config.raw == str(tmp_path / "raw")
    assert config.segment.checkpoint == tmp_path / "sam.pth"
    assert config.classify.clip_model == f"local-dir:{tmp_path / 'clip'}"
    assert config.classify.model == "org/x"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            MINIMAL + "segment:\n  points_per_sid: 8\n",
            ":5: segment.points_per_sid: unknown key; did you mean points_per_side?",
        ),
        (MINIMAL + "route:\n  nms_iou: 1.5\n", ":5: route.nms_iou: .*less than or equal to 1"),
        (
            MINIMAL + "route:\n  rules:\n    - unrecognized\n    - monochrom\n",
            r":7: route\.rules\.1: 'monochrom' is no rule; did you mean monochrome\?",
        ),
        (
            MINIMAL + "route:\n  rules:\n    - unrecognized\n"
            "    - rule: monochrome\n      min_st: 2\n",
            r":8: route\.rules\.1\.monochrome\.min_st: unknown key; did you mean min_std\?",
        ),
        (
            MINIMAL + "route:\n  rules:\n    - rule: too_small\n      min_area_px: -2\n",
            r":7: route\.rules\.0\.too_small\.min_area_px: .*greater than 0",
        ),
        (MINIMAL + "route:\n  rules: [imported]\n", ":5: route.rules: add unrecognized"),
        (MINIMAL + "tile: {size_px: 64, overlap_px: 64}\n", ":4: tile.overlap_px: .*smaller"),
        (
            MINIMAL + "tile:\n  stretch_percentiles: [98, 2]\n",
            ":5: .*two rising percentiles",
        ),
        ("preset: lae-paper\nraw: raw\n", "store: is missing; add it"),
        (
            "raw: raw\npreset: lae-papr\n",
            r"yaml:2: preset: 'lae-papr' is not one of: .*, lae-paper; did you mean lae-paper\?",
        ),
        ("", "preset is missing; add one of: default, demo, lae-paper"),
        (
            "store: s\n" + MINIMAL.replace("store", "stoer"),
            r"stoer: unknown key; did you mean store",
        ),
        (
            MINIMAL + "vocabulary: [large ship, Large-Ship]\n",
            ":4: vocabulary.categories: 'large ship' and 'Large-Ship' are the same name",
        ),
        (MINIMAL + "vocabulary: [ship, '']\n", ":4: vocabulary.categories: '' is no name"),
        (
            MINIMAL + "annotations:\n  - {format: dota, location: x}\n"
            "  - format: dota\n    location: y\n    imags: z\n",
            r":8: annotations\.1\.imags: unknown key; did you mean images\?",
        ),
        (
            MINIMAL + "annotations: [{format: dota, location: x, zzz: {a: 1}}]\n",
            r":4: annotations\.0\.zzz: unknown key; `lae config --schema` lists the keys",
        ),
        (
            MINIMAL + "annotations: [{format: coco, location: /}]\n",
            r":4: annotations\.0\.location: coco is one file: give the file's key",
        ),
        (
            MINIMAL + "segment: {points_per_side: 3, crop_n_layers: 2}\n",
            ":4: segment.*: points_per_side 3 leaves crops of layer 2 without a point; give at "
            "least 4, or fewer crop_n_layers",
        ),
        (
            MINIMAL + "tile:\n  size_px: 13378\n",
            r":5: tile\.size_px: Input should be less than or equal to 13377 \(got 13378\)",
        ),
        (
            MINIMAL + "route:\n  rules: unrecognized\n",
            r":5: route\.rules: give a list, such as \[unrecognized\]$",
        ),
        (
            MINIMAL + "route: {rules: [{rule: unrecognized, then: accept}]}\n",
            r"then: Input should be 'reject' or 'review' \(got 'accept'\)",
        ),
        (MINIMAL + "route: no\n", r":4: route: give keys and values \(got False\)"),
        (
            MINIMAL + "vocabulary: {categories: [{name: ship, synonyms: boat}]}\n",
            r"categories\.0\.synonyms: give a list, such as \[boat\]",
        ),
        (
            MINIMAL + "vocabulary: {blocked: object}\n",
            r"vocabulary\.blocked: give a list, such as \[object\]",
        ),
        (MINIMAL + "vocabulary: {blocked: ['']}\n", "vocabulary.blocked: '' is no name"),
        (
            MINIMAL + "vocabulary: [ship, no]\n",
            r":4: vocabulary\.categories\.1\.name: give text, in quotes where YAML reads something "
            r"else \(got False\)",
        ),
        (
            MINIMAL + "vocabulary: {blocked: [no]}\n",
            r"blocked\.0: give text, in quotes .* \(got False\)",
        ),
        (
            MINIMAL + "vocabulary: {blocked: [object]}\nroute:\n  rules: [unrecognized]\n",
            ":5: route: the vocabulary blocks 'object': add the rule `blocked` to rules$",
        ),
        (
            MINIMAL + "classify: {namer: clip, clip_model: ViT-B-32/openai}\n",
            ":4: classify: the namer is clip: it chooses from the vocabulary; add `vocabulary`$",
        ),
        ("- a\n", "expected keys and values"),
        ("a: 1\nb: [\n", ":3: not valid YAML: expected the node content"),
    ],
)
def test_an_error_names_line_key_and_remedy(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(write(tmp_path, text))


def test_a_file_in_another_encoding_is_told(tmp_path: Path) -> None:
    (tmp_path / "lae.yaml").write_bytes(MINIMAL.encode("utf-16"))
    with pytest.raises(ConfigError, match="not UTF-8; save it as UTF-8"):
        load_config(tmp_path / "lae.yaml")


def test_slashes_around_a_data_sets_places_are_no_part_of_them() -> None:
    source = AnnotationSource(format="dota", location="/DOTA/labelTxt/", images="DOTA/images//")
    assert (source.location, source.images) == ("DOTA/labelTxt", "DOTA/images")
    assert AnnotationSource(format="dota", location="").location == ""


def test_problems_are_told_in_the_order_of_their_lines(tmp_path: Path) -> None:
    text = MINIMAL + "route: {nms_iou: 2}\ntile: {size_px: 0}\nthreads: 0\n"
    with pytest.raises(ConfigError) as told:
        load_config(write(tmp_path, text))
    lines = [line.split(":")[1] for line in str(told.value).splitlines()]
    assert lines == ["4", "5", "6"]


def test_a_missing_file_says_how_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="name one by --config"):
        load_config(tmp_path / "none.yaml")


def test_places_do_not_change_a_fingerprint(tmp_path: Path) -> None:
    one = load_config(write(tmp_path, MINIMAL + "segment:\n  checkpoint: a.pth\n"))
    other = load_config(write(tmp_path, MINIMAL + "segment:\n  checkpoint: b.pth\n"))
    changed = load_config(write(tmp_path, MINIMAL + "segment:\n  points_per_side: 8\n"))
    assert one.segment.fingerprint() == other.segment.fingerprint()
    assert one.segment.fingerprint() != changed.segment.fingerprint()


def test_a_checkout_that_is_moved_has_the_same_fingerprints(tmp_path: Path) -> None:
    found = set()
    for name in ("here", "there"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "my.txt").write_text("What is it?")
        config = load_config(write(folder, MINIMAL + "classify:\n  prompt: my.txt\n"))
        found.add(config.classify.fingerprint())
    assert len(found) == 1


def test_a_layer_of_crops_keeps_a_point_whatever_is_left_to_defaults() -> None:
    for wrong in ({"points_per_side": 1}, {"crop_n_layers": 6}, {"points_per_side": 1} | LAYER):
        with pytest.raises(ValidationError, match="without a point"):
            SegmentConfig.model_validate(wrong)
    for right in ({"points_per_side": 1, "crop_n_layers": 0}, {"points_per_side": 2} | LAYER):
        config = SegmentConfig.model_validate(right)
        sizes = (config.points_per_side, config.crop_n_layers)
        build_all_layer_point_grids(*sizes, config.crop_n_points_downscale_factor)


LAYER = {"crop_n_layers": 1, "crop_n_points_downscale_factor": 2}


def test_the_largest_tile_can_be_opened_again() -> None:
    size = TileConfig(size_px=13_377).size_px
    with warnings.catch_warnings(action="ignore"):
        Image._decompression_bomb_check((size, size))
    with pytest.raises(Image.DecompressionBombError):
        Image._decompression_bomb_check((size + 1, size + 1))


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_valid_and_heeds_a_vocabulary(tmp_path: Path, name: str) -> None:
    vocabulary = "vocabulary: {categories: [ship], blocked: [object]}\n"
    text = f"preset: {name}\nraw: raw\nstore: store\n"
    config = load_config(write(tmp_path, text + vocabulary))
    assert {"blocked", "new_category"} <= {rule.rule for rule in config.route.rules}


def test_without_rules_a_vocabulary_is_heeded_too() -> None:
    assert {"blocked", "new_category"} <= {rule.rule for rule in RouteConfig().rules}


def test_clip_alone_has_names_to_choose_from(tmp_path: Path) -> None:
    clip = "classify: {namer: clip, clip_model: ViT-B-32/openai}\n"
    config = load_config(write(tmp_path, MINIMAL + clip + "vocabulary: [ship]\n"))
    assert config.vocabulary.names == ("ship",)
    # What is wrong with the vocabulary is told once.
    with pytest.raises(ConfigError) as told:
        load_config(write(tmp_path, MINIMAL + clip + "vocabulary: [1]\n"))
    assert len(str(told.value).splitlines()) == 1


def test_what_models_are_called_is_no_path_unless_it_lies_there(tmp_path: Path) -> None:
    (tmp_path / "OpenGVLab" / "InternVL3").mkdir(parents=True)
    (tmp_path / "json").mkdir()
    (tmp_path / "RemoteCLIP.pt").touch()
    path = tmp_path / "lae.yaml"

    def classify(text: str) -> ClassifyConfig:
        path.write_text(MINIMAL + f"classify: {{{text}}}\n")
        return load_config(path).classify

    remote = "namer: remote, remote: {base_url: http://host/v1}"
    assert classify(f"model: OpenGVLab/InternVL3, {remote}").model == "OpenGVLab/InternVL3"
    local = tmp_path / "OpenGVLab" / "InternVL3"
    assert classify("model: OpenGVLab/InternVL3").model == str(local)
    clip = classify("clip_model: ViT-B-32/RemoteCLIP.pt").clip_model
    assert clip == f"ViT-B-32/{tmp_path / 'RemoteCLIP.pt'}"
    assert classify("clip_model: ViT-B-32/openai").clip_model == "ViT-B-32/openai"
    assert classify("prompt: json").prompt == "json"


def test_each_dataset_has_a_project_of_its_own(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, MINIMAL)).review.project == "LAE review: lae"
    ports = load_config(write(tmp_path, MINIMAL + "dataset: ports\nreview:\n  batch_size: 9\n"))
    assert ports.review.project == "LAE review: ports"
    named = load_config(write(tmp_path, MINIMAL + "dataset: ports\nreview:\n  project: mine\n"))
    assert named.review.project == "mine"
    long = load_config(write(tmp_path, MINIMAL + f"dataset: {'long-' * 20}er\n"))
    assert len(long.review.project) == 50
    with pytest.raises(ConfigError, match=r"review.project|at most 50"):
        load_config(write(tmp_path, MINIMAL + f"review:\n  project: {'long ' * 20}er\n"))
