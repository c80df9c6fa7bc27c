"""Talks to Label Studio by an Airflow connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from lae_tasks.errors import LaeError
from lae_tasks.review.webhook import Webhook

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from lae_tasks.review.label_studio import LabelStudioReview


class LabelStudioHook(BaseHook):
    """The stewards' Label Studio.

    The connection's host is the server's address (`https://labels.example.org`, or a host with
    schema and port), its password a personal access token or a legacy token. The extra
    `s3_endpoint_url` says where Label Studio finds the S3 server: leave it out for AWS, and where
    the server is told by LABEL_STUDIO_S3_ENDPOINT. The extra `webhook_url` says where Label Studio
    finds this Airflow's `/lae/label-studio`, and `webhook_secret` is what Airflow knows its webhook
    by; without either there is none.

    Args:
        label_studio_conn_id: A connection of type `label_studio`.
    """

    conn_name_attr = "label_studio_conn_id"
    default_conn_name = "lae_label_studio"
    conn_type = "label_studio"
    hook_name = "Label Studio"

    def __init__(self, label_studio_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.label_studio_conn_id = label_studio_conn_id

    def get_conn(self) -> LabelStudioReview:
        """A client of the server. Raises ConfigError if the connection lacks address or token."""
        return self.client(self.get_connection(self.label_studio_conn_id))

    async def aget_conn(self) -> LabelStudioReview:
        """The same, for the triggerer; the client itself blocks."""
        return self.client(await self.aget_connection(self.label_studio_conn_id))

    @staticmethod
    def client(connection: Connection) -> LabelStudioReview:
        """A client of a connection's server."""
        from lae_tasks.review.label_studio import LabelStudioReview

        url = connection.host or ""
        if url and "://" not in url:
            url = f"{connection.schema or 'http'}://{url}"
        if connection.port:
            url = f"{url}:{connection.port}"
        return LabelStudioReview(url, connection.password or "", _webhook(connection))

    def s3_endpoint_url(self) -> str | None:
        """Where Label Studio finds the S3 server; None if it knows."""
        extra = self.get_connection(self.label_studio_conn_id).extra_dejson
        return extra.get("s3_endpoint_url") or None

    def webhook_secret(self) -> str:
        """What Airflow knows Label Studio's webhook by; empty if there is no such thing."""
        try:
            return _webhook(self.get_connection(self.label_studio_conn_id)).secret
        except AirflowNotFoundException:
            return ""

    def test_connection(self) -> tuple[bool, str]:
        """Whether the server answers to the token, and what it said."""
        try:
            with self.get_conn() as client:
                client.find_project("any")
        except LaeError as error:
            return False, str(error)
        return True, f"Label Studio {client.url} answers to the token"

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """How the connection's form names its fields."""
        return {
            "hidden_fields": ["login"],
            "relabeling": {"host": "Address", "password": "Access token"},
            "placeholders": {
                "host": "https://labels.example.org",
                "extra": '{"s3_endpoint_url": "https://s3.example.org", '
                '"webhook_url": "https://airflow.example.org/lae/label-studio", '
                '"webhook_secret": "a long random word"}',
            },
        }


def _webhook(connection: Connection) -> Webhook:
    extra = connection.extra_dejson
    # A file that a secret was kept in often ends with a line break, which no header may.
    url, secret = (str(extra.get(f"webhook_{name}") or "").strip() for name in ("url", "secret"))
    return Webhook(url, secret)
