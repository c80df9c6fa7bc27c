"""What Airflow asks of a provider: the connection types and their forms, and the settings."""

from __future__ import annotations

from typing import Any

from lae_airflow.defaults import CONFIG_SECTION
from lae_airflow.hooks.label_studio import LabelStudioHook

#: Of each setting what it is, its type, an example, and its default.
OPTIONS = {
    "alert_emails": (
        "Who gets a mail when a run fails or is late, through the connection `smtp_default`",
        "string",
        "oncall@example.org, team@example.org",
        "",
    ),
    "alert_slack_conn_id": (
        "Connection of type `slackwebhook` by which Slack is told",
        "string",
        "lae_slack",
        "",
    ),
    "deadline_minutes": (
        "A run of lae_nightly or lae_release that takes longer is late; 0: none is",
        "integer",
        "480",
        "0",
    ),
}


def get_provider_info() -> dict[str, Any]:
    """The entry point `apache_airflow_provider`."""
    behaviour = LabelStudioHook.get_ui_field_behaviour()
    return {
        "package-name": "lae-label-engine",
        "name": "LAE-Label engine",
        "description": "Labels remote-sensing imagery: SAM, a vision-language model, stewards.",
        "connection-types": [
            {
                "connection-type": LabelStudioHook.conn_type,
                "hook-class-name": f"{LabelStudioHook.__module__}.{LabelStudioHook.__qualname__}",
                "hook-name": LabelStudioHook.hook_name,
                "ui-field-behaviour": {
                    "hidden-fields": behaviour["hidden_fields"],
                    "relabeling": behaviour["relabeling"],
                    "placeholders": behaviour["placeholders"],
                },
            }
        ],
        "config": {
            CONFIG_SECTION: {
                "description": "The LAE-Label engine: who is told of what. Nobody by default.",
                "options": {
                    name: {
                        "description": description,
                        "version_added": None,
                        "type": kind,
                        "example": example,
                        "default": default,
                    }
                    for name, (description, kind, example, default) in OPTIONS.items()
                },
            }
        },
    }
