"""What the DAGs tell one another by. Events have a partition key, and counts in `extra`."""

from airflow.sdk import Asset

#: A night has been routed; the key is the night.
NIGHT = Asset("lae_night")
#: Stewards have decided; the key names the batch.
VERDICTS = Asset("lae_verdicts")
#: Label Studio says that stewards have done something. It is a hint, and has no key.
HINT = Asset("lae_review_hint")
#: Nights were decided anew, by a new calibration; the key names which.
NIGHTS_AGAIN = Asset("lae_nights_again")
#: A version was published; the key is the version.
RELEASE = Asset("lae_version")
