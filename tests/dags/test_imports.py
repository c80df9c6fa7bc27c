"""Reading the DAGs and the plugin must stay cheap: Airflow does it again and again."""

import json
import os
import subprocess
import sys

from tests.dags.airflow_home import ENV

HEAVY = ("boto3", "label_studio_sdk", "numpy", "pyarrow", "rasterio", "torch", "transformers")

READ_ALL = f"""
import json, os, pkgutil, sys
from airflow.dag_processing.dagbag import DagBag
from airflow import plugins_manager
from airflow.sdk.plugins_manager import _get_plugins
bag = DagBag(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
plugins, errors = _get_plugins()
assert [plugin.name for plugin in plugins if plugin.name == "lae"] == ["lae"], (plugins, errors)
assert not bag.import_errors and not errors, (bag.import_errors, errors)
assert "fastapi" not in sys.modules, "only the API server needs it"
import lae_airflow
for module in pkgutil.walk_packages(lae_airflow.__path__, "lae_airflow."):
    __import__(module.name)
print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))
"""


def test_reading_dags_and_plugins_imports_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-c", READ_ALL],
        env=os.environ | ENV,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []
