"""Sets Airflow up before a test module imports it."""

from tests.dags import airflow_home  # noqa: F401
