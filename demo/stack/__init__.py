"""The local stack: S3, Label Studio and Airflow on one machine, under one Procfile."""
