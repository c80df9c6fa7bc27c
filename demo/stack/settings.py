"""Settings and secrets of the local stack.

Everything the stack keeps lies in one git-ignored folder, ``.lae`` in the repository unless
``LAE_STATE`` names another one. Secrets are made at the first start and then stay.
"""

from __future__ import annotations

import base64
import json
import os
import secrets as random
import shlex
import sys
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"
REGION = "us-east-1"
LABEL_STUDIO_EMAIL = "admin@lae.local"
AIRFLOW_USER = "admin"

#: Variables of the caller's shell that would change what the services do.
_FOREIGN_PREFIXES = ("AIRFLOW", "LABEL_STUDIO_", "HEARTEX_", "AWS_", "RCLONE_", "DJANGO_")


def _token(n_bytes: int = 20) -> str:
    return random.token_hex(n_bytes)


def _fernet_key() -> str:
    return base64.urlsafe_b64encode(random.token_bytes(32)).decode()


@dataclass(frozen=True)
class Secrets:
    """What only this stack knows."""

    s3_key: str
    s3_secret: str
    label_studio_password: str
    label_studio_token: str
    webhook_secret: str
    airflow_password: str
    airflow_jwt_secret: str
    airflow_secret_key: str
    airflow_fernet_key: str

    @classmethod
    def generate(cls) -> Secrets:
        """Make new ones."""
        return cls(
            s3_key=_token(10),
            s3_secret=_token(),
            label_studio_password=random.token_urlsafe(12),
            label_studio_token=_token(),
            webhook_secret=_token(),
            airflow_password=random.token_urlsafe(12),
            airflow_jwt_secret=_token(32),
            airflow_secret_key=_token(32),
            airflow_fernet_key=_fernet_key(),
        )


@dataclass(frozen=True)
class Settings:
    """Where the stack listens and where it keeps things."""

    state: Path
    secrets: Secrets
    s3_port: int = 9105
    label_studio_port: int = 8181
    airflow_port: int = 8180
    parallelism: int = 2
    gpu_slots: int = 2
    dags_folder: Path = REPO / "dags"
    plugins_folder: Path = REPO / "plugins"
    config: Path = REPO / "demo" / "lae.yaml"
    label_studio_venv: Path = REPO / ".venv-label-studio"

    @property
    def s3_endpoint(self) -> str:
        """The URL of the S3 server."""
        return f"http://{HOST}:{self.s3_port}"

    @property
    def label_studio_url(self) -> str:
        """The URL of Label Studio."""
        return f"http://{HOST}:{self.label_studio_port}"

    @property
    def airflow_url(self) -> str:
        """The URL of Airflow's API server and pages."""
        return f"http://{HOST}:{self.airflow_port}"

    @property
    def airflow_home(self) -> Path:
        """Airflow's folder: its database and its task logs."""
        return self.state / "airflow"

    @property
    def logs(self) -> Path:
        """One log per service, named as in the Procfile."""
        return self.state / "logs"

    def stack_env(self) -> dict[str, str]:
        """The environment of every service, built on the caller's."""
        env = {k: v for k, v in os.environ.items() if not k.startswith(_FOREIGN_PREFIXES)}
        no_proxy = [v for v in (env.get("NO_PROXY"), env.get("no_proxy")) if v]
        env["NO_PROXY"] = env["no_proxy"] = ",".join([*no_proxy, HOST, "localhost"])
        env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", "")])
        env["PYTHONPATH"] = os.pathsep.join([str(REPO), str(REPO / "demo/stack/airflow_config")])
        env["PYTHONUNBUFFERED"] = "1"
        threads = max(1, (os.cpu_count() or 1) // self.parallelism)
        env.setdefault("OMP_NUM_THREADS", str(threads))
        return (
            env
            | self._settings_env()
            | self._s3_env()
            | self._label_studio_env()
            | self._airflow_env()
        )

    def _settings_env(self) -> dict[str, str]:
        names = [f.name for f in fields(self) if f.name != "secrets"]
        return {f"LAE_{name.upper()}": str(getattr(self, name)) for name in names}

    def _s3_env(self) -> dict[str, str]:
        return {
            # A list, as CSV: the pair is one quoted value of it.
            "RCLONE_AUTH_KEY": f'"{self.secrets.s3_key},{self.secrets.s3_secret}"',
            "RCLONE_CONFIG": os.devnull,
        }

    def _label_studio_env(self) -> dict[str, str]:
        return {
            "LABEL_STUDIO_BASE_DATA_DIR": str(self.state / "label-studio"),
            "LABEL_STUDIO_HOST": "",
            "LABEL_STUDIO_USERNAME": LABEL_STUDIO_EMAIL,
            "LABEL_STUDIO_PASSWORD": self.secrets.label_studio_password,
            "LABEL_STUDIO_USER_TOKEN": self.secrets.label_studio_token,
            "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
            # The S3 server and the webhook's receiver are on this machine's loopback.
            "LABEL_STUDIO_S3_ENDPOINT": self.s3_endpoint,
            "LABEL_STUDIO_USE_DEFAULT_BANNED_SUBNETS": "false",
            "LABEL_STUDIO_USER_ADDITIONAL_BANNED_SUBNETS": "169.254.0.0/16",
            # Nothing is reported to anybody.
            "LABEL_STUDIO_COLLECT_ANALYTICS": "false",
            "LABEL_STUDIO_LATEST_VERSION_CHECK": "false",
            "LABEL_STUDIO_SENTRY_DSN": "",
            "LABEL_STUDIO_FRONTEND_SENTRY_DSN": "",
        }

    def _airflow_env(self) -> dict[str, str]:
        password_file = self.airflow_home / "simple_auth_manager_passwords.json"
        return {
            "AIRFLOW_HOME": str(self.airflow_home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": str(self.parallelism),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags_folder),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(self.plugins_folder),
            "AIRFLOW__CORE__FERNET_KEY": self.secrets.airflow_fernet_key,
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.airflow_url}/execution/",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{AIRFLOW_USER}:admin",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(password_file),
            "AIRFLOW__API__HOST": HOST,
            "AIRFLOW__API__PORT": str(self.airflow_port),
            "AIRFLOW__API__BASE_URL": self.airflow_url,
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API__SECRET_KEY": self.secrets.airflow_secret_key,
            "AIRFLOW__API_AUTH__JWT_SECRET": self.secrets.airflow_jwt_secret,
            "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
            # On a busy machine the API server takes longer than the usual 5 s; tasks fail then.
            "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "30",
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "30",
            # A task that went down with the stack is taken up again after a minute, not five.
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "10",
            # A steward who tries the demo wants to see their release soon.
            "AIRFLOW_VAR_LAE_REVIEW_QUIET_S": "10",
            "AIRFLOW_VAR_LAE_REVIEW_POLL_S": "5",
            # Each task's log would begin with it.
            "PYTHONWARNINGS": "ignore:GitWildMatchPattern:DeprecationWarning",
            "AIRFLOW_CONN_LAE_S3": json.dumps(self._s3_connection()),
            "AIRFLOW_CONN_LAE_LABEL_STUDIO": json.dumps(
                {
                    "conn_type": "label_studio",
                    "host": self.label_studio_url,
                    "password": self.secrets.label_studio_token,
                    "extra": {
                        "webhook_url": f"{self.airflow_url}/lae/label-studio",
                        "webhook_secret": self.secrets.webhook_secret,
                    },
                }
            ),
        }

    def _s3_connection(self) -> dict[str, Any]:
        return {
            "conn_type": "aws",
            "login": self.secrets.s3_key,
            "password": self.secrets.s3_secret,
            "extra": {
                "endpoint_url": self.s3_endpoint,
                "region_name": REGION,
                "config_kwargs": {
                    "s3": {"addressing_style": "path"},
                    "request_checksum_calculation": "when_required",
                    "response_checksum_validation": "when_required",
                    "retries": {"max_attempts": 3, "mode": "standard"},
                },
            },
        }

    def client_env(self) -> dict[str, str]:
        """The environment of a command line that works with the stack."""
        return {
            "AWS_ACCESS_KEY_ID": self.secrets.s3_key,
            "AWS_SECRET_ACCESS_KEY": self.secrets.s3_secret,
            "AWS_ENDPOINT_URL_S3": self.s3_endpoint,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
            "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
            "LABEL_STUDIO_URL": self.label_studio_url,
            "LABEL_STUDIO_API_KEY": self.secrets.label_studio_token,
            "LAE_CONFIG": str(self.config),
        }

    def save(self) -> None:
        """Write the state folder: settings, logins and the folders that the services expect."""
        for folder in ("s3", "logs", "label-studio", "airflow"):
            (self.state / folder).mkdir(mode=0o700, exist_ok=True)
        _write_private(self.state / "env", _as_env_file(self.client_env()))
        ports = {k: v for k, v in self._settings_env().items() if k.endswith("_PORT")}
        _write_private(self.state / "settings.env", _as_env_file(ports))
        passwords = self.airflow_home / "simple_auth_manager_passwords.json"
        _write_private(passwords, json.dumps({AIRFLOW_USER: self.secrets.airflow_password}) + "\n")


def load(state: Path | None = None, **overrides: Any) -> Settings:
    """Read the settings, making the state folder and its secrets if they are missing.

    A value comes from ``overrides``, else from the variable ``LAE_<NAME>``, else from the state
    folder's ``settings.env`` (the ports of the last start), else it is the default.

    Args:
        state: The folder to use instead of ``LAE_STATE`` or ``<repo>/.lae``.
        **overrides: Fields of `Settings`.

    Raises:
        ValueError: A variable should be a number and is none.
    """
    folder = (state or Path(os.environ.get("LAE_STATE") or REPO / ".lae")).resolve()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    settings = Settings(state=folder, secrets=_load_secrets(folder / "secrets.json"))
    remembered = _read_env_file(folder / "settings.env")
    for field in fields(Settings):
        if field.name in ("state", "secrets") or field.name in overrides:
            continue
        name = f"LAE_{field.name.upper()}"
        value = os.environ.get(name) or remembered.get(name)
        if value:
            overrides[field.name] = _parse(name, value, type(getattr(settings, field.name)))
    return replace(settings, **overrides)


def _parse(name: str, value: str, kind: type) -> Any:
    if kind is not int:
        return Path(value).resolve()
    try:
        return int(value)
    except ValueError as error:
        raise ValueError(f"{name}={value!r} is not a number: set it to one, or unset it") from error


def _load_secrets(path: Path) -> Secrets:
    known = json.loads(path.read_text()) if path.exists() else {}
    secrets = asdict(Secrets.generate()) | known
    if secrets != known:  # none yet, or the stack has come to need another one
        _write_private(path, json.dumps(secrets, indent=1) + "\n")
    return Secrets(**secrets)


def _write_private(path: Path, text: str) -> None:
    """Replace a file by one that only its owner reads, whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.touch(mode=0o600)
    part.write_text(text)
    part.replace(path)


def _as_env_file(values: dict[str, str]) -> str:
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())


def _read_env_file(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    return dict(part.split("=", 1) for part in shlex.split(path.read_text(), comments=True))
