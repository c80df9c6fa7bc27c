"""Runs a whole night on this machine, without Airflow: the same stages, the same results."""

import logging
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed

from lae_tasks.accounts import Manifest
from lae_tasks.config import Config
from lae_tasks.night import Night, plan, require_ready, run_stage
from lae_tasks.process import die_with_parent
from lae_tasks.state import SHARD_STAGES
from lae_tasks.storage import open_storage

#: Called after each step with what was done, the steps done so far, and all that are known.
Progress = Callable[[str, int, int], None]


def open_night(config: Config, night: str) -> Night:
    """A night over the storages that the config names; S3 by the environment's credentials."""
    return Night(night, config, open_storage(config.raw), open_storage(config.store))


def run_night(config: Config, night: str, workers: int, progress: Progress) -> list[Manifest]:
    """Runs ingest, the shards and route, skipping what is done already.

    Args:
        config: The settings.
        night: `yyyy-mm-dd`.
        workers: Processes that work on shards; each loads the models once.
        progress: Told after each step.

    Returns:
        All manifests of the night.

    Raises:
        LaeError: What a stage raises; finished shards stay finished. A model or a prompt that is
            not there is missed before anything is read.
    """
    require_ready(config)
    here = open_night(config, night)
    manifests = [run_stage(here, "ingest")]
    shards = plan(here)
    total = 2 + len(shards) * len(SHARD_STAGES)
    progress("ingest", 1, total)
    # spawn: a fork would share torch's threads and the S3 connections of this process.
    context = multiprocessing.get_context("spawn")
    quiet = logging.getLogger("rasterio").level
    with ProcessPoolExecutor(workers, context, _start_worker, (quiet,)) as pool:
        running = {pool.submit(_run_shard, config, night, shard): shard for shard in shards}
        for future in as_completed(running):
            manifests += future.result()
            progress(f"shard {running[future]}", len(manifests), total)
    manifests.append(run_stage(here, "route"))
    progress("route", total, total)
    return manifests


def _start_worker(rasterio_level: int) -> None:
    """Ends with this process, and says as little of GDAL's warnings as this process does."""
    die_with_parent()
    logging.getLogger("rasterio").setLevel(rasterio_level)


def _run_shard(config: Config, night: str, shard: str) -> list[Manifest]:
    here = open_night(config, night)
    return [run_stage(here, stage, shard) for stage in SHARD_STAGES]
