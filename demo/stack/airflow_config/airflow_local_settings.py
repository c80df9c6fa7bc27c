"""Loaded by every Airflow component at its start.

The scheduler forks a process for each task. With torch imported before the fork a task pays
nothing for it; imported in each task it would cost more than a second of CPU time per task.
Only the import happens here: a CUDA context does not survive a fork.
"""

import sys

if "scheduler" in sys.argv:
    import torch  # noqa: F401
