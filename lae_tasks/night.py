"""A night's stages, wired: which tables a stage reads, which model it needs, what it writes.

The command line and Airflow both call `run_stage`; neither knows more of a stage than its name.
"""

import logging
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date
from functools import cache

from lae_tasks.accounts import Counted, Done, Manifest, Output, Rejection
from lae_tasks.backends.protocols import Classifier, MaskGenerator, TextEmbedder
from lae_tasks.backends.weights import (
    clip_revision,
    namer_revision,
    require_models,
    sam_revision,
)
from lae_tasks.config import ClassifyConfig, Config, SegmentConfig
from lae_tasks.contracts import (
    Assignment,
    Decision,
    Embedding,
    Label,
    Merge,
    Prompt,
    Region,
    Scene,
    Tile,
)
from lae_tasks.errors import ConfigError, ContractError
from lae_tasks.imagery.raster import gdal_version
from lae_tasks.naming.budget import share_by_area
from lae_tasks.naming.journal import Journal
from lae_tasks.naming.opinion import SecondOpinion
from lae_tasks.naming.prompt_template import load_template
from lae_tasks.naming.vocabulary import Vocabulary
from lae_tasks.regions.prompts import (
    ScenePrompts,
    read_prompts,
    require_annotations,
    require_labels,
)
from lae_tasks.routing.inputs import RouteInputs, committed, route_inputs
from lae_tasks.routing.labelled import LabelledRegions, read_labelled
from lae_tasks.runner import (
    Columns,
    Work,
    iter_manifests,
    require_again,
    run,
    run_columns,
)
from lae_tasks.stages import classify, ingest, route, segment, tile
from lae_tasks.stages.calibrate import latest
from lae_tasks.state import SHARD_STAGES, WHOLE, digest_of, read_plan
from lae_tasks.storage import Storage
from lae_tasks.tables import read_table
from lae_tasks.trust.records import Calibration

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Night:
    """Where and with what a night runs.

    Attributes:
        night: The night's name, `yyyy-mm-dd`.
        raw: What comes in.
        store: What goes out.
    """

    night: str
    config: Config
    raw: Storage
    store: Storage

    def __post_init__(self) -> None:
        """Refuses what is no date: a night's name becomes part of keys, and is sorted."""
        try:
            well_formed = date.fromisoformat(self.night).isoformat() == self.night
        except ValueError:
            well_formed = False
        if not well_formed:
            raise ConfigError(f"night {self.night!r}: give a date such as 2026-11-22")


def run_stage(night: Night, stage: str, shard: str = WHOLE, again: bool = False) -> Manifest:
    """Runs one stage over one shard, unless that is done already.

    Args:
        night: The night.
        stage: `ingest`, `tile`, `segment`, `classify` or `route`.
        shard: One of `plan(night)`; `all` for ingest and route.
        again: Though it is done already.

    Raises:
        ConfigError: If there is no such stage, or it does not work by shards.
        ContractError: If there is no such shard, or a stage before it is not committed.
        LaeError: What the stage raises.
    """
    if stage not in _STAGES:
        raise ConfigError(f"stage {stage!r}: give one of {', '.join(_STAGES)}")
    if stage not in SHARD_STAGES and shard != WHOLE:
        raise ConfigError(f"{stage} works on the night as a whole; leave out the shard {shard!r}")
    if again:
        require_again(night.store, stage, night.night, shard)
    return _STAGES[stage](night, shard)


def require_ready(config: Config) -> None:
    """What a night needs besides imagery, looked for before any is read.

    Raises:
        ConfigError: If a model, its device or the prompt is missing or cannot be used, or the
            vocabulary contradicts itself.
    """
    config.vocabulary.require_clear()
    require_models(config)
    load_template(config.classify.prompt)


def plan(night: Night) -> list[str]:
    """The night's shards, in order, as its ingest made them."""
    return sorted(read_plan(night.store, night.night))


def _ingest(night: Night, shard: str) -> Manifest:
    night.raw.check()
    config = night.config.ingest
    # What GDAL cannot read today, another GDAL may read.
    config_sha256 = digest_of((config.fingerprint(), gdal_version()))
    known, known_objects = _of_other_nights(night, config_sha256)
    # What this night registered before stays in it, in its shard, even if its object is gone from
    # the raw prefix by now: a rerun adds scenes and never loses one.
    kept = [
        ingest.Registered(scene, shard_of)
        for shard_of, scenes in sorted(read_plan(night.store, night.night).items())
        for scene in scenes
    ]
    own = {(k.scene.raw_key, k.scene.etag) for k in kept}
    listed = list(night.raw.list())
    if sources := night.config.annotations:
        there = {info.key for info in listed}
        scenes = {scene.raw_key for scene in (*known, *(each.scene for each in kept))}
        scenes |= {key for key in there if ingest.may_be_scene(key, config, sources)}
        require_labels(night.raw, sources, there, scenes)
    objects = [
        info for info in listed if (ingest.record_id(info.key), info.etag) not in known_objects
    ]
    fresh = [info for info in objects if (info.key, info.etag) not in own]
    everything = own | {(info.key, info.etag) for info in objects}
    work = Work(
        stage="ingest",
        night=night.night,
        shard=shard,
        record_types=(Scene, Assignment),
        config_sha256=config_sha256,
        inputs=(digest_of(f"{key}|{etag}" for key, etag in sorted(everything)),),
    )
    results = ingest.run(fresh, night.raw, known, config, kept, sources)
    keys = [k.scene.raw_key for k in kept] + [ingest.record_id(info.key) for info in fresh]
    return run(night.store, work, keys, results)


def _of_other_nights(
    night: Night, config_sha256: str
) -> tuple[list[Scene], set[tuple[str, str | None]]]:
    """The scenes of all other nights, and key and etag of the raw objects that they dealt with.

    What they refused is not read again either, unless the settings of ingest changed since.
    """
    scenes: list[Scene] = []
    refused: list[Rejection] = []
    # Every other night, not only earlier ones: a backfill must not take in scenes again.
    for manifest in iter_manifests(night.store, "ingest"):
        if manifest.night == night.night:
            continue
        scenes += read_table(night.store, manifest.outputs[0], Scene)
        if manifest.config_sha256 == config_sha256:
            for output in manifest.outputs[2:]:
                refused += read_table(night.store, output, Rejection)
    objects = {(scene.raw_key, scene.etag) for scene in scenes}
    return scenes, objects | {(r.rejected_id, r.etag) for r in refused}


def _tile(night: Night, shard: str) -> Manifest:
    shards = read_plan(night.store, night.night)
    if shard not in shards:
        known = ", ".join(sorted(shards)) or "none; run ingest first"
        raise ContractError(f"shard {shard!r} of night {night.night}: its shards are: {known}")
    scenes = shards[shard]
    ids = [scene.scene_id for scene in scenes]
    config, sources = night.config.tile, night.config.annotations
    require_annotations(night.raw, sources)
    # Read before anything else: if they say something new, the shard is to be done again.
    prompts = {s.scene_id: read_prompts(night.raw, sources, s) for s in scenes if sources}
    # Scenes of which nothing is said are not worked on again for it.
    settings = (config.fingerprint(), *(repr(p) for p in prompts.values() if p != ScenePrompts()))
    work = Work(
        stage="tile",
        night=night.night,
        shard=shard,
        record_types=(Tile, Prompt),
        config_sha256=digest_of(settings),
        inputs=(digest_of(ids),),
    )
    return run(night.store, work, ids, tile.run(scenes, night.raw, night.store, config, prompts))


def _segment(night: Night, shard: str) -> Manifest:
    outputs = _outputs(night, "tile", shard)
    tiles = read_table(night.store, outputs[0], Tile)
    prompts = read_table(night.store, outputs[1], Prompt)
    scenes = {scene.scene_id: scene for scene in read_plan(night.store, night.night)[shard]}
    config = night.config.segment
    work = Work(
        stage="segment",
        night=night.night,
        shard=shard,
        record_types=(Region,),
        config_sha256=config.fingerprint(),
        inputs=tuple(output.sha256 for output in outputs),
        model_revision=sam_revision(config),
    )

    def results() -> Iterator[Done | Rejection]:
        generator = mask_generator(config, night.config.threads)
        _require_unchanged(work, generator)
        yield from segment.run(tiles, scenes, prompts, night.store, generator, config)

    return run(night.store, work, [t.tile_id for t in tiles], results())


def _classify(night: Night, shard: str) -> Manifest:
    of_tile, of_segment = _outputs(night, "tile", shard), _outputs(night, "segment", shard)
    tiles = read_table(night.store, of_tile[0], Tile)
    regions = read_table(night.store, of_segment[0], Region)
    config, vocabulary = night.config.classify, night.config.vocabulary
    template = load_template(config.prompt)
    asked = (config.fingerprint(), template.sha256)
    # Of a vocabulary only CLIP knows, and only names and parents: the rest is up to route.
    names = [f"{its.name} < {its.parent}" for its in vocabulary.categories if config.clip_model]
    work = Work(
        stage="classify",
        night=night.night,
        shard=shard,
        record_types=(Label, Embedding),
        config_sha256=digest_of((*asked, *names)),
        inputs=tuple(output.sha256 for output in (*of_tile, *of_segment)),
        model_revision=_joined(namer_revision(config), _clip_revision(config)),
    )

    def results() -> Generator[Done | Rejection | Counted]:
        threads = night.config.threads
        namer = classifier(config, vocabulary, threads)
        embedder = text_embedder(config, threads)
        _require_unchanged(work, namer, embedder)
        second = SecondOpinion(embedder, vocabulary) if embedder else None
        by_id = {t.tile_id: t for t in tiles}
        with _of_shard(namer, night, shard) as own:
            yield from classify.run(regions, by_id, night.store, own, second, config)

    # Closed whatever happens: then nobody asks on, and what was answered is written.
    with closing(results()) as made:
        return run(night.store, work, [r.region_id for r in regions], made)


@contextmanager
def _of_shard(namer: Classifier, night: Night, shard: str) -> Iterator[Classifier]:
    """A server's replies are kept, and cost the shard's share of the night's budget at most."""
    from lae_tasks.backends.remote import RemoteClassifier

    if not isinstance(namer, RemoteClassifier):
        yield namer
        return
    share = share_by_area(read_plan(night.store, night.night), shard)
    with Journal(night.store, f"replies/{night.night}/{shard}/") as journal:
        yield namer.for_shard(journal, share)


def _route(night: Night, shard: str) -> Manifest:
    came_in = route_inputs(night.store, night.night)
    config, vocabulary = night.config.route, night.config.vocabulary
    calibration = latest(night.store, came_in.model_revision, config)
    learned = calibration.calibration_id if calibration else ""
    work = Work(
        stage="route",
        night=night.night,
        shard=shard,
        record_types=(Decision, Merge),
        config_sha256=digest_of((config.fingerprint(), vocabulary.model_dump_json(), learned)),
        inputs=came_in.digests,
        model_revision=_clip_revision(night.config.classify),
    )

    def decided() -> Columns:
        embedder = text_embedder(night.config.classify, night.config.threads)
        _require_unchanged(work, embedder)
        rows = _labelled(night, came_in, calibration)
        return route.run(rows, embedder, vocabulary, config, calibration)

    return run_columns(night.store, work, decided)


def labelled(night: Night) -> tuple[LabelledRegions, Calibration | None]:
    """What route works on: the labels of a night whose classify is committed.

    Raises:
        ContractError: If it is not.
    """
    came_in = route_inputs(night.store, night.night)
    calibration = latest(night.store, came_in.model_revision, night.config.route)
    return _labelled(night, came_in, calibration), calibration


def _labelled(
    night: Night, came_in: RouteInputs, calibration: Calibration | None
) -> LabelledRegions:
    columns = route.columns(night.config.route, calibration)
    return read_labelled(night.store, came_in.shards, came_in.scenes, columns)


_STAGES: dict[str, Callable[[Night, str], Manifest]] = {
    "ingest": _ingest,
    "tile": _tile,
    "segment": _segment,
    "classify": _classify,
    "route": _route,
}


def _outputs(night: Night, stage: str, shard: str) -> tuple[Output, ...]:
    """The tables of a committed shard, the main one first."""
    return committed(night.store, stage, night.night, shard).tables


def _joined(*revisions: str | None) -> str | None:
    return "+".join(revision for revision in revisions if revision) or None


def _require_unchanged(
    work: Work, *models: MaskGenerator | Classifier | TextEmbedder | None
) -> None:
    """The model in memory may be older than the files that the work was named by."""
    loaded = _joined(*(model.revision for model in models if model))
    if loaded != work.model_revision:
        raise ConfigError(
            f"{work.stage} {work.night}/{work.shard}: the model's files changed while it was in "
            f"use ({loaded} is loaded, {work.model_revision} lies there); run the night again"
        )


def _clip_revision(config: ClassifyConfig) -> str | None:
    return clip_revision(config.clip_model) if config.clip_model else None


# One process runs many shards: a model is loaded once for each of its settings.


@cache
def mask_generator(config: SegmentConfig, threads: int) -> MaskGenerator:
    """The MaskGenerator that the config names."""
    from lae_tasks.backends.masks import load_mask_generator

    return load_mask_generator(config, threads)


@cache
def classifier(config: ClassifyConfig, vocabulary: Vocabulary, threads: int) -> Classifier:
    """The Classifier that the config names."""
    from lae_tasks.backends.namers import load_namer

    return load_namer(config, vocabulary, threads)


@cache
def text_embedder(config: ClassifyConfig, threads: int) -> TextEmbedder | None:
    """The TextEmbedder that the config names; None if it names none."""
    if config.clip_model is None:
        return None
    from lae_tasks.backends.clip import ClipEmbedder

    return ClipEmbedder(config.clip_model, config.device, threads)
