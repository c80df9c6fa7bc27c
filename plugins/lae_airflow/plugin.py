"""The plugin that Airflow loads from its plugins folder."""

from airflow.plugins_manager import AirflowPlugin


class LaePlugin(AirflowPlugin):
    """The LAE-Label engine. Operators, hooks and triggers are imported from `lae_airflow`."""

    name = "lae"
