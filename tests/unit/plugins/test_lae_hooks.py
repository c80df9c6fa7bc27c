"""The hooks, on connections as Airflow keeps them in its environment."""

import json
from pathlib import Path
from typing import Any

import airflow
import pytest
from airflow.sdk.exceptions import AirflowNotFoundException
from jsonschema import validate
from lae_airflow.hooks.engine import EngineHook
from lae_airflow.hooks.label_studio import LabelStudioHook
from lae_airflow.provider import get_provider_info

from demo.stack.processes import free_port
from lae_tasks.errors import ConfigError
from lae_tasks.review.webhook import Webhook, require_ascii
from lae_tasks.storage import LocalStorage, S3Storage

AWS = {
    "conn_type": "aws",
    "login": "access-key",
    "password": "not-in-any-repr",
    "extra": {"endpoint_url": "http://127.0.0.1:9", "region_name": "us-east-1"},
}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def write(**settings: Any) -> None:
        path = tmp_path / "lae.yaml"
        path.write_text(json.dumps({"preset": "demo", "raw": "raw", "store": "store"} | settings))
        monkeypatch.setenv("LAE_CONFIG", str(path))

    return write


def set_connection(monkeypatch: pytest.MonkeyPatch, name: str, **fields: Any) -> None:
    monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(fields))


def label_studio(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> LabelStudioHook:
    set_connection(monkeypatch, "studio", conn_type="label_studio", **fields)
    return LabelStudioHook("studio")


def test_local_folders_need_no_connection(config: Any) -> None:
    config()
    night = EngineHook("no-such-connection").night("2026-11-22")
    assert isinstance(night.raw, LocalStorage)
    assert isinstance(night.store, LocalStorage)
    assert night.config.preset == "demo"


def test_buckets_are_opened_by_the_connection(config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config(raw="s3://raw/scenes", store="s3://store/demo")
    set_connection(monkeypatch, "bucket", **AWS)
    engine = EngineHook("bucket")
    store = engine.store
    assert isinstance(store, S3Storage)
    assert store.uri == "s3://store/demo"
    assert store._client.meta.endpoint_url == "http://127.0.0.1:9"
    access = engine.s3_access("http://s3.local")
    assert (access.access_key_id, access.endpoint_url) == ("access-key", "http://s3.local")
    assert access.region_name == "us-east-1"
    assert "not-in-any-repr" not in repr(access)


def test_a_missing_connection_is_not_replaced_by_the_machines_own_credentials(config: Any) -> None:
    config(raw="s3://raw/scenes", store="s3://store/demo")
    with pytest.raises(AirflowNotFoundException, match="nowhere"):
        _ = EngineHook("nowhere").store


@pytest.mark.parametrize("night", ["", "today", "2026-11-31", "20261122", "../2026-11-22"])
def test_a_night_is_a_date(config: Any, night: str) -> None:
    config()
    with pytest.raises(ConfigError, match="partition key"):
        EngineHook().night(night)


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({"host": "https://labels.example.org"}, "https://labels.example.org"),
        ({"host": "http://127.0.0.1:8181/"}, "http://127.0.0.1:8181"),
        ({"host": "labels.local", "port": 8080}, "http://labels.local:8080"),
        ({"host": "labels.local", "schema": "https", "port": 443}, "https://labels.local:443"),
    ],
)
def test_the_address_of_label_studio(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], url: str
) -> None:
    hook = label_studio(monkeypatch, password="token", **fields)
    with hook.get_conn() as client:
        assert client.url == url
    assert hook.s3_endpoint_url() is None


def test_where_label_studio_finds_the_s3_server(monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {"s3_endpoint_url": "http://s3.local:9000"}
    hook = label_studio(monkeypatch, host="http://studio", password="token", extra=extra)
    assert hook.s3_endpoint_url() == "http://s3.local:9000"


def test_the_webhook(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {"host": "http://studio", "password": "token"}
    hook = label_studio(monkeypatch, **fields)
    with hook.get_conn() as client:
        assert (hook.webhook_secret(), client._webhook) == ("", Webhook())
    extra = {"webhook_url": "http://airflow.local", "webhook_secret": "of a file\n"}
    hook = label_studio(monkeypatch, **fields, extra=extra)
    with hook.get_conn() as client:
        assert client._webhook == Webhook("http://airflow.local", "of a file")
        assert "of a file" not in repr(client._webhook)
    assert hook.webhook_secret() == "of a file"
    assert LabelStudioHook("nowhere").webhook_secret() == ""


def test_the_form_shows_a_webhook_that_works() -> None:
    shown = json.loads(LabelStudioHook.get_ui_field_behaviour()["placeholders"]["extra"])
    assert {"webhook_url", "webhook_secret"} < shown.keys()
    require_ascii(shown["webhook_secret"])


@pytest.mark.parametrize("fields", [{"password": "token"}, {"host": "http://studio"}])
def test_a_connection_without_address_or_token(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]
) -> None:
    works, message = label_studio(monkeypatch, **fields).test_connection()
    assert not works
    assert "LABEL_STUDIO" in message


def test_testing_a_connection_says_why_it_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    works, message = label_studio(monkeypatch, host=url, password="token").test_connection()
    assert not works
    assert url in message
    assert "is it up?" in message


def test_the_provider_info_is_what_airflow_expects() -> None:
    schema = Path(airflow.__file__).with_name("provider_info.schema.json")
    info = get_provider_info()
    validate(info, json.loads(schema.read_text()))
    (connection,) = info["connection-types"]
    assert connection["hook-class-name"] == "lae_airflow.hooks.label_studio.LabelStudioHook"
    assert connection["connection-type"] == "label_studio"
