"""The engine in Airflow: hooks, operators, a trigger. Thin; all work is done by `lae_tasks`."""
