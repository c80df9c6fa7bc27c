"""What the DAGs tell one another by. Every event has a partition key and counts in `extra`."""

from airflow.sdk import Asset

#: A night has been routed; the key is the night.
NIGHT = Asset("lae_night")
#: Stewards have decided; the key names the batch.
VERDICTS = Asset("lae_verdicts")
#: A version was published; the key is the version.
RELEASE = Asset("lae_version")
