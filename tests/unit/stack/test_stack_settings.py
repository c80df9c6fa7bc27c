"""Settings and secrets of the local stack."""

import json
import stat
from dataclasses import replace

import pytest

from demo.stack import settings as stack


@pytest.fixture(autouse=True)
def _no_settings_of_the_caller(monkeypatch):
    for name in ("LAE_STATE", "LAE_S3_PORT", "LAE_AIRFLOW_PORT", "LAE_LABEL_STUDIO_PORT"):
        monkeypatch.delenv(name, raising=False)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_secrets_are_private_and_stay(tmp_path):
    first = stack.load(tmp_path / "lae")
    first.save()

    assert mode(tmp_path / "lae") == 0o700
    for name in ("secrets.json", "env", "settings.env"):
        assert mode(tmp_path / "lae" / name) == 0o600, name
    assert mode(first.airflow_home / "simple_auth_manager_passwords.json") == 0o600
    assert stack.load(tmp_path / "lae") == first
    assert stack.load(tmp_path / "other").secrets != first.secrets


def test_a_secret_that_is_new_joins_those_that_stay(tmp_path):
    whole = stack.load(tmp_path).secrets
    path = tmp_path / "secrets.json"
    known = json.loads(path.read_text())
    del known["webhook_secret"]
    path.write_text(json.dumps(known))

    now = stack.load(tmp_path).secrets
    assert now.webhook_secret != whole.webhook_secret
    assert replace(now, webhook_secret=whole.webhook_secret) == whole
    assert stack.load(tmp_path).secrets == now
    assert mode(path) == 0o600


def test_a_port_comes_from_the_environment_and_is_remembered(tmp_path, monkeypatch):
    monkeypatch.setenv("LAE_S3_PORT", "9999")
    stack.load(tmp_path).save()
    monkeypatch.delenv("LAE_S3_PORT")

    assert stack.load(tmp_path).s3_endpoint == "http://127.0.0.1:9999"
    assert stack.load(tmp_path, s3_port=9998).s3_port == 9998


def test_a_port_that_is_no_number_names_its_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("LAE_AIRFLOW_PORT", "http")

    with pytest.raises(ValueError, match="LAE_AIRFLOW_PORT='http'"):
        stack.load(tmp_path)


def test_the_services_do_not_see_the_callers_own_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW__CORE__LOAD_EXAMPLES", "True")
    monkeypatch.setenv("AWS_PROFILE", "work")
    monkeypatch.setenv("LABEL_STUDIO_HOST", "https://studio.example.org")

    env = stack.load(tmp_path).stack_env()

    assert env["AIRFLOW__CORE__LOAD_EXAMPLES"] == "False"
    assert "AWS_PROFILE" not in env
    assert env["LABEL_STUDIO_HOST"] == ""


def test_connections_point_at_the_stack(tmp_path):
    settings = stack.load(tmp_path, s3_port=1234, label_studio_port=5678, airflow_port=9012)
    env = settings.stack_env()

    s3 = json.loads(env["AIRFLOW_CONN_LAE_S3"])
    assert s3["extra"]["endpoint_url"] == settings.client_env()["AWS_ENDPOINT_URL_S3"]
    assert s3["password"] == settings.secrets.s3_secret
    studio = json.loads(env["AIRFLOW_CONN_LAE_LABEL_STUDIO"])
    assert studio["host"] == "http://127.0.0.1:5678"
    assert studio["password"] == settings.secrets.label_studio_token
    assert studio["extra"] == {
        "webhook_url": "http://127.0.0.1:9012/lae/label-studio",
        "webhook_secret": settings.secrets.webhook_secret,
    }
