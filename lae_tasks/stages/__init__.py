"""The stages of a night, one module each; a stage knows nothing of Airflow or of shards."""
