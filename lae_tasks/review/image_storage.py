"""The storage of a Label Studio project: how its server fetches the tiles."""

from dataclasses import dataclass, field
from typing import Any

from lae_tasks.errors import ConfigError


@dataclass(frozen=True)
class S3Access:
    """What Label Studio needs to fetch the tiles by itself.

    Attributes:
        endpoint_url: Leave it out for AWS, and where the Label Studio server itself is told by
            LABEL_STUDIO_S3_ENDPOINT (it refuses private addresses named by a project).
    """

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    region_name: str | None = None
    endpoint_url: str | None = None

    @classmethod
    def from_session(cls, session: Any, endpoint_url: str | None = None) -> "S3Access":
        """The credentials of a `boto3.Session`.

        Raises:
            ConfigError: If the session has none.
        """
        credentials = session.get_credentials()
        if credentials is None:
            raise ConfigError(
                "no S3 credentials for Label Studio; set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, or the Airflow connection"
            )
        frozen = credentials.get_frozen_credentials()
        return cls(
            access_key_id=frozen.access_key,
            secret_access_key=frozen.secret_key,
            session_token=frozen.token,
            region_name=session.region_name,
            endpoint_url=endpoint_url,
        )


def ensure_storage(storages: Any, project_id: int, bucket: str, prefix: str, s3: S3Access) -> None:
    """Makes the project's storage of a bucket, or brings it up to date.

    Args:
        storages: The SDK's `LabelStudio.import_storage.s3`.
        project_id: The project.
        bucket: Where the images lie.
        prefix: Below which they lie; something must be there already.
        s3: How Label Studio gets at them.
    """
    wanted: dict[str, Any] = {
        "project": project_id,
        "title": "tiles",
        "bucket": bucket,
        "prefix": prefix,
        "aws_access_key_id": s3.access_key_id,
        "aws_secret_access_key": s3.secret_access_key,
        # Also what is empty: an update that leaves it out would leave what was there before.
        "aws_session_token": s3.session_token or "",
        "region_name": s3.region_name or "",
        "s3endpoint": s3.endpoint_url or "",
        # The server fetches the images itself: the bucket stays private and needs no CORS.
        "presign": False,
        "use_blob_urls": True,
        "synchronizable": False,
    }
    known = [each.id for each in storages.list(project=project_id) if each.bucket == bucket]
    if known:
        storages.update(id=known[0], **wanted)
    else:
        storages.create(request_options={"max_retries": 0}, **wanted)
