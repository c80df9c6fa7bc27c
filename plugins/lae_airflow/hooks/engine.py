"""Gives tasks the engine: its config, and its storages by an Airflow connection."""

from __future__ import annotations

from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING

from airflow.sdk import BaseHook

from lae_tasks.errors import ConfigError

if TYPE_CHECKING:
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    from lae_tasks.config import Config
    from lae_tasks.night import Night
    from lae_tasks.review.image_storage import S3Access
    from lae_tasks.storage import Storage


class EngineHook(BaseHook):
    """The engine as `$LAE_CONFIG` sets it, on the S3 server of an Airflow connection.

    Args:
        s3_conn_id: A connection of type `aws`. Storages in local folders need none.
    """

    default_conn_name = "lae_s3"

    def __init__(self, s3_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.s3_conn_id = s3_conn_id

    @cached_property
    def config(self) -> Config:
        """The settings. Raises ConfigError."""
        from lae_tasks.config_file import load_config

        return load_config()

    @cached_property
    def raw(self) -> Storage:
        """What comes in."""
        return self._open(self.config.raw)

    @cached_property
    def store(self) -> Storage:
        """What goes out."""
        return self._open(self.config.store)

    def night(self, night: str) -> Night:
        """A night of that name.

        Raises:
            ConfigError: If it is no date, as a partition key given by hand may be none.
        """
        from lae_tasks.night import Night

        try:
            valid = date.fromisoformat(night).isoformat() == night
        except ValueError:
            valid = False
        if not valid:
            raise ConfigError(
                f"night {night!r} is no date; start the run with a partition key such as 2026-11-22"
            )
        return Night(night, self.config, self.raw, self.store)

    def s3_access(self, endpoint_url: str | None = None) -> S3Access:
        """The connection's credentials, for a service that reads the store by itself.

        Args:
            endpoint_url: Where that service finds the S3 server; None if it knows.
        """
        from lae_tasks.review.image_storage import S3Access

        session = self._s3.get_session(region_name=self._s3.region_name)
        return S3Access.from_session(session, endpoint_url)

    @cached_property
    def _s3(self) -> S3Hook:
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook

        # S3Hook itself would fall back to the machine's own credentials.
        self.get_connection(self.s3_conn_id)
        return S3Hook(aws_conn_id=self.s3_conn_id)

    def _open(self, uri: str) -> Storage:
        from lae_tasks.storage import open_storage

        return open_storage(uri, self._s3.get_conn() if uri.startswith("s3://") else None)
