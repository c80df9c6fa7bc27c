"""Makes Airflow's database and the pool of the GPU tasks; run in the stack's environment."""

import logging
import os

from airflow.models.pool import Pool
from airflow.utils import db

logger = logging.getLogger(__name__)


def main() -> None:
    """Create or upgrade the database, then the pool ``gpu``."""
    db.initdb()
    slots = int(os.environ["LAE_GPU_SLOTS"])
    Pool.create_or_update_pool(
        "gpu", slots, "Tasks that hold a model: on a GPU one at a time", include_deferred=False
    )
    logger.info("Database is ready; pool gpu has %d slots", slots)


if __name__ == "__main__":
    main()
