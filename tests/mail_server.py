"""A real SMTP server, and Airflow's connection to it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message

from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message as Handler

from demo.stack.processes import free_port


@dataclass(frozen=True)
class MailServer:
    """A running server.

    Attributes:
        came: What was sent to it, oldest first.
        env: Airflow's connection to it, and one whom alerts go to.
    """

    came: list[Message]
    env: dict[str, str]


@contextmanager
def mail_server() -> Iterator[MailServer]:
    """Runs a server on a free port."""
    came: list[Message] = []

    class Kept(Handler):
        def handle_message(self, message: Message) -> None:
            came.append(message)

    server = Controller(Kept(), hostname="127.0.0.1", port=free_port())
    connection = {
        "conn_type": "smtp",
        "host": server.hostname,
        "port": server.port,
        "extra": {"disable_ssl": True, "disable_tls": True, "from_email": "lae@example.org"},
    }
    env = {
        "AIRFLOW_CONN_SMTP_DEFAULT": json.dumps(connection),
        "AIRFLOW__LAE__ALERT_EMAILS": "one@example.org, two@example.org",
    }
    server.start()
    try:
        yield MailServer(came, env)
    finally:
        server.stop()
