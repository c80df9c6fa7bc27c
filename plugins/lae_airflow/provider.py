"""What Airflow asks of a provider: the connection types and their forms."""

from __future__ import annotations

from typing import Any

from lae_airflow.hooks.label_studio import LabelStudioHook


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
    }
