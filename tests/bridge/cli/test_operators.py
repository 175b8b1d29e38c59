"""What operators' commands have in common: where the server is, and who may ask it."""

import socket
import threading
from datetime import UTC, datetime, timedelta

import pytest

from bridge.cli.options import moment
from bridge.cli.rendering import pretty
from bridge.cli.terminal import UsageError
from bridge.model import ContactCard, ContactPhone, Contacts, System, SystemKind
from bridge.model.codec import to_dict
from bridge.model.masking import masked
from tests.bridge.cli.processes import ADMIN, TOKEN
from tests.bridge.events import message, status

COMMANDS = (
    ("status",),
    ("tail",),
    ("show", "key"),
    ("events",),
    ("dead", "list"),
    ("dead", "show", "1"),
    ("dead", "retry", "1"),
    ("dead", "drop", "1"),
    ("replay", "key"),
    ("reparse", "--all"),
    ("subscribers",),
    ("outbox",),
    ("subscribers", "forget", "crm"),
    ("purge", "--yes", "--subject", "+6281500000001"),
)


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_without_a_server_each_says_so(command, workplace, free_port, arguments):
    """Where no server runs, a command fails with 1 and says where it looked."""
    (workplace / "config.toml").write_text(f'[admin]\nport = {free_port}\ntoken = "{ADMIN}"\n')
    outcome = command(*arguments)
    assert outcome.code == 1
    assert outcome.err.startswith(f"error: no server answers at http://127.0.0.1:{free_port}: ")
    assert outcome.out == ""


def test_no_other_secret_is_needed(operated, command):
    """A command needs nothing but `[admin]`: variables of the adapters may be missing."""
    text = operated.config.read_text()
    assert TOKEN in text
    operated.config.write_text(text.replace(TOKEN, "${NOT_HERE}"))
    assert command("subscribers").code == 0


def test_the_token_goes_with_the_question(command, start, workplace):
    """With the token of the configuration a command is let in, and with another it is not."""
    config = workplace / "config.toml"
    text = '[admin]\nport = {port}\ntoken = "{token}"\n[journal]\nengine = "memory"\n'
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    config.write_text(text.format(port=port, token="the-right-token-of-this-test"))
    process = start("serve", "--port", "0")
    assert any(b"listening on" in line for line in process.stderr)
    assert command("subscribers", "--json").out == ""
    config.write_text(text.format(port=port, token="another-token-of-this-test"))
    told = (
        f"error: the server at http://127.0.0.1:{port} wants its token: [admin] here has another\n"
    )
    outcome = command("subscribers")
    assert (outcome.code, outcome.err) == (1, told)


def test_a_disabled_listener_is_a_matter_of_the_settings(command, workplace):
    """Where `[admin]` is disabled no command can work, and the exit code is 3."""
    (workplace / "config.toml").write_text("[admin]\nenabled = false\n")
    outcome = command("subscribers")
    assert outcome.code == 3
    assert "admin.enabled: is false" in outcome.err


def test_a_port_that_is_taken_is_told_with_its_key(command, workplace):
    """`bridge serve` refuses to start where operators could not reach it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = f'[server]\nport = 0\n[journal]\nengine = "memory"\n[admin]\nport = {port}\n'
        config += f'token = "{ADMIN}"\n'
        (workplace / "config.toml").write_text(config)
        outcome = command("serve")
    assert outcome.code == 3
    assert (
        f"admin.port: cannot listen on 127.0.0.1 port {port}: Address already in use" in outcome.err
    )


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 200 OK\r\n\r\n{"])
def test_somebody_else_at_the_port(command, workplace, answer):
    """Whoever else answers there is not taken for a bridge."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        (workplace / "config.toml").write_text(f'[admin]\nport = {port}\ntoken = "{ADMIN}"\n')

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        outcome = command("subscribers")
        thread.join()
    assert outcome.code == 1
    assert f"127.0.0.1:{port}" in outcome.err


class TestMoments:
    def test_a_time_or_how_long_ago(self):
        """A time is taken as it is, and a duration counts back from now."""
        assert moment("2026-01-31T12:00:00Z", "--since") == "2026-01-31T12:00:00+00:00"
        assert moment(None, "--since") is None
        ago = datetime.fromisoformat(moment("90m", "--since"))
        assert ago <= datetime.now(UTC) - timedelta(minutes=90)

    @pytest.mark.parametrize("text", ["yesterday", "1w", "99999999999d", "-1h", ""])
    def test_anything_else_is_explained(self, text):
        """What is no time is refused with what would be one."""
        with pytest.raises(UsageError, match="--since: expected a time such as"):
            moment(text, "--since")


class TestMasking:
    def test_a_message(self):
        """Phones keep their ends, texts their length, and what the provider sent is left out."""
        value = masked(to_dict(message("wamid.1", user="+16505551234", text="my secret")))
        assert value["sender"] == {"phone": "+****34", "role": "user"}
        assert value["content"] == {"kind": "text", "text": "(9 characters)"}
        assert value["conversation"]["id"] == "whatsapp:30058:+****34"
        assert value["message_id"] == "wamid.1"
        assert "raw" not in value

    def test_wherever_a_phone_may_stand(self):
        """A number that changed and one on a shared card are masked as well."""
        system = System(change=SystemKind.NUMBER, previous="+16505551234", current="+16505559876")
        card = Contacts(
            contacts=(ContactCard(name="Anne", phones=(ContactPhone(phone="+1 650-555-1234"),)),)
        )
        for content in (system, card):
            text = str(masked(to_dict(message(content=content))))
            for secret in ("5551234", "5559876", "555-1234", "Anne"):
                assert secret not in text

    def test_a_status_stays_readable(self):
        """What says where a message stands is nobody's secret."""
        value = masked(to_dict(status()))
        assert (value["status"], value["provider_status"]) == ("delivered", "delivered")

    def test_no_control_character_reaches_the_terminal(self):
        """What a terminal would act on is an escape of JSON's own."""
        text = pretty({"text": "a\u202eb\x1b[2J\U000e0041"})
        assert text.isprintable() or "\n" in text
        assert "a\\u202eb\\u001b[2J\\udb40\\udc41" in text
