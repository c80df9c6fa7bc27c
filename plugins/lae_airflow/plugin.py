"""The plugin that Airflow loads from its plugins folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.plugins_manager import AirflowPlugin

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send


async def serve(scope: Scope, receive: Receive, send: Send) -> None:
    """The webhook. Every process of Airflow reads this file, but only the API server serves it."""
    from lae_airflow.webhook import app

    await app(scope, receive, send)


class LaePlugin(AirflowPlugin):
    """The LAE-Label engine. Operators, hooks and triggers are imported from `lae_airflow`."""

    name = "lae"
    fastapi_apps = [  # noqa: RUF012  as Airflow declares it
        {"app": serve, "url_prefix": "/lae", "name": "LAE"}
    ]
