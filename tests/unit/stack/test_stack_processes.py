"""Starting, ending and remembering processes."""

import subprocess
import sys
import time

import psutil
import pytest

from demo.stack import processes, up
from demo.stack.services import s3_server
from demo.stack.settings import load

#: Starts a child that ignores SIGTERM, in a session of its own, and waits for it.
STUBBORN = """
import signal, subprocess, sys
code = "import signal, time; signal.signal(15, signal.SIG_IGN)"
code += "; print('on', flush=True); time.sleep(60)"
subprocess.run([sys.executable, "-c", code], start_new_session=True)
"""


def test_every_service_has_a_probe_and_its_own_log(tmp_path):
    services = processes.procfile()

    assert services.keys() == up.probes(load(tmp_path), 0.0).keys()
    for name, command in services.items():
        assert command.startswith("exec "), f"{name}: the shell would stand before it"
        assert f"/logs/{name}.log" in command


def test_services_listen_on_the_loopback_only(tmp_path):
    services = processes.procfile()

    assert '--addr "127.0.0.1:' in services["s3"]
    assert "--internal-host 127.0.0.1" in services["label-studio"]
    assert load(tmp_path).stack_env()["AIRFLOW__API__HOST"] == "127.0.0.1"
    for name in ("airflow-scheduler", "airflow-triggerer"):
        assert "--skip-serve-logs" in services[name], f"{name} would serve logs on every interface"


def test_stop_ends_children_that_do_not_want_to():
    with subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE) as parent:
        assert parent.stdout.readline() == b"on\n"
        root = psutil.Process(parent.pid)
        (child,) = root.children()

        assert processes.stop([root], timeout_s=1.0) == 1

        assert not child.is_running()
        assert parent.wait(5) != 0


def test_waiting_has_a_deadline_and_names_the_log(tmp_path):
    with pytest.raises(processes.StackError, match=r"tea did not come up within 0 s.*tea.log"):
        processes.wait_until(lambda: False, "tea", 0.1, log=tmp_path / "tea.log")
    with pytest.raises(processes.StackError, match="tea ended"):
        processes.wait_until(lambda: False, "tea", 5, alive=lambda: False)


def test_a_record_knows_its_processes_from_others_with_the_same_pid(tmp_path):
    settings = load(tmp_path)
    assert up.Record.read(settings).honcho() is None
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        ours = psutil.Process(process.pid)
        up.Record.write(settings, [ours])
        assert up.Record.read(settings).honcho() == ours
        other = up.Record(((process.pid, ours.create_time() - 1),))
        assert other.alive() == []
        process.kill()
    assert up.Record.read(settings).alive() == []


def test_s3_server_serves_and_ends(tmp_path):
    with s3_server(tmp_path) as s3:
        client = s3.client()
        client.create_bucket(Bucket="lae-raw")
        client.put_object(Bucket="lae-raw", Key="a/b.txt", Body=b"hello")
        assert client.get_object(Bucket="lae-raw", Key="a/b.txt")["Body"].read() == b"hello"
        assert (s3.folder / "lae-raw/a/b.txt").read_bytes() == b"hello"
        port = int(s3.endpoint.rsplit(":", 1)[1])
        assert processes.port_is_taken(port)
    deadline = time.monotonic() + 5
    while processes.port_is_taken(port) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not processes.port_is_taken(port)
