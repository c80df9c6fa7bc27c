"""Loaded by every Airflow component at its start.

The scheduler forks a process for each task. What it imported before the fork costs a task
nothing; imported in each task, the model libraries cost 5 to 15 s of CPU time again and again.
Only imports happen here: neither a CUDA context nor a thread survives a fork. After an edit of
the imported modules the scheduler must be started anew.
"""

import sys

if "scheduler" in sys.argv:
    import airflow.providers.amazon.aws.hooks.s3  # noqa: F401

    import lae_tasks.backends.clip
    import lae_tasks.backends.lvlm
    import lae_tasks.backends.sam
    import lae_tasks.night
    import lae_tasks.stages.release
    import lae_tasks.stages.review
    import lae_tasks.stages.validate
    import lae_tasks.status  # noqa: F401
