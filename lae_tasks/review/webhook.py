"""The webhook that has Label Studio tell Airflow when stewards have done something."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from lae_tasks.errors import ConfigError

logger = logging.getLogger(__name__)

#: It holds the secret, and marks a webhook as the engine's own. Every user of Label Studio can read
#: it there, so the secret must protect nothing but this hint.
SECRET_HEADER = "X-LAE-Secret"
#: What may change what `collect` finds.
ACTIONS = ("ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED")


@dataclass(frozen=True)
class Webhook:
    """What Airflow's connection tells of it; there is none unless both are given.

    Attributes:
        url: Where Airflow listens.
        secret: What Airflow knows Label Studio by.
    """

    url: str = ""
    secret: str = field(default="", repr=False)


def require_ascii(secret: str) -> None:
    """Raises ConfigError if Label Studio could not send the secret, or not as Airflow expects it.

    It sends a header as Latin-1, and nothing at all if that is not enough.
    """
    if not (secret.isascii() and secret.isprintable()):
        raise ConfigError(
            "webhook_secret, in the extra of Airflow's connection to Label Studio, has characters "
            "that are not printable ASCII; make another one, as by `openssl rand -hex 32`"
        )


def ensure_webhook(webhooks: Any, project_id: int, webhook: Webhook) -> None:
    """Makes the project's webhook, brings it up to date, or removes it; leaves those of others.

    Args:
        webhooks: The SDK's `LabelStudio.webhooks`.
        project_id: The project.
        webhook: What it is to be.

    Raises:
        ConfigError: The secret cannot be sent.
    """
    is_wanted = bool(webhook.url and webhook.secret)
    if is_wanted:
        require_ascii(webhook.secret)
    elif webhook.url or webhook.secret:
        logger.warning(
            "no webhook: of webhook_url and webhook_secret, the extra of Airflow's connection to "
            "Label Studio lacks %s",
            "webhook_secret" if webhook.url else "webhook_url",
        )
    wanted: dict[str, Any] = {
        "url": webhook.url,
        "headers": {SECRET_HEADER: webhook.secret},
        "actions": sorted(ACTIONS),
        "send_for_all_actions": False,
        # Only that there is something: what it is, is asked of Label Studio itself.
        "send_payload": False,
        "is_active": True,
    }
    known = webhooks.list(project=str(project_id))
    ours = [hook for hook in known if SECRET_HEADER in (hook.headers or {})]
    kept = ours[:1] if is_wanted else []
    for hook in ours[len(kept) :]:
        with unless_gone():
            webhooks.delete(id=hook.id)
            logger.info("removed webhook %d of project %d", hook.id, project_id)
    for hook in kept:
        now = {name: getattr(hook, name) for name in wanted}
        if now | {"actions": sorted(hook.actions or ())} != wanted:
            with unless_gone():
                webhooks.update(id=hook.id, **wanted)
                logger.info(
                    "changed webhook %d of project %d to %s", hook.id, project_id, webhook.url
                )
    if is_wanted and not kept:
        webhooks.create(project=project_id, request_options={"max_retries": 0}, **wanted)
        logger.info("made a webhook of project %d to %s", project_id, webhook.url)


@contextmanager
def unless_gone() -> Iterator[None]:
    """Lets the answer pass that there is no such thing: somebody has deleted it just now."""
    # Airflow's API server imports this module; it does without the SDK.
    from label_studio_sdk.core.api_error import ApiError

    try:
        yield
    except ApiError as error:
        if error.status_code != 404:
            raise
