"""Fixtures of the DAGs' tests."""

from tests.dags import airflow_home  # noqa: I001  before anything of Airflow

from collections.abc import Mapping

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG
from airflow.utils import db


@pytest.fixture(scope="session")
def dag_bag() -> DagBag:
    """The DAG files as Airflow reads them."""
    db.initdb()
    return DagBag(airflow_home.ENV["AIRFLOW__CORE__DAGS_FOLDER"])


@pytest.fixture(scope="session")
def dags(dag_bag: DagBag) -> Mapping[str, DAG]:
    assert dag_bag.import_errors == {}
    return dag_bag.dags
