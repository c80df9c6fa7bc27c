"""The LAE-Label engine: from raw overhead imagery to measured dataset releases.

Nothing in this package imports Airflow: a stage runs the same from the command line and from a
task. See `docs/architecture.md` for the map.
"""
