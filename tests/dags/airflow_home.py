"""Airflow's settings for tests in this process: import this before anything of Airflow.

Airflow reads its settings when it is first imported, and only then.
"""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]

if "airflow" in sys.modules:
    raise RuntimeError("Airflow was imported before tests.dags.airflow_home; import this first")

HOME = Path(tempfile.mkdtemp(prefix="lae-airflow-"))
atexit.register(shutil.rmtree, HOME, ignore_errors=True)

ENV = {
    "AIRFLOW_HOME": str(HOME),
    "AIRFLOW__CORE__DAGS_FOLDER": str(REPO / "dags"),
    "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPO / "plugins"),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
}
os.environ.update(ENV)
