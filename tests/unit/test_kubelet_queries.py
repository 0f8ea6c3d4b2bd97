"""The query of a kubelet request on its way to the member: no value is lost, reordered or encoded differently."""

from __future__ import annotations

from random import Random
from urllib.parse import parse_qsl, quote, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vk_provider.kubelet.logs import member_query
from vk_provider.kubelet.streams import command_line, exec_query, port_forward_query, run_query

ARGUMENTS = st.lists(st.binary(max_size=40), max_size=8)


def values(query: str, key: str) -> list[bytes]:
    """The values of the key as a server decodes them, in order."""
    pairs = (part.partition("=") for part in query.split("&"))
    return [unquote_to_bytes(value.replace("+", " ")) for name, _, value in pairs if name == key]


@pytest.mark.parametrize(
    ("received", "sent"),
    [
        ("command=ls&output=1&error=1", "command=ls&stdout=true&stderr=true&container=app"),
        ("input=1&output=1&tty=1&command=sh", "stdin=true&stdout=true&tty=true&command=sh&container=app"),
        ("input=true", "stdin=true&container=app"),
        ("input=0&output=false&error=&tty", "container=app"),
        ("command=sh&command=-c&command=echo+a%20b", "command=sh&command=-c&command=echo+a%20b&container=app"),
        ("command=&command=a%3Db%26c", "command=&command=a%3Db%26c&container=app"),
        ("command=%ff%00%2B", "command=%ff%00%2B&container=app"),
        ("container=other&stdin=true&frob=1", "container=app"),
        ("", "container=app"),
    ],
)
def test_options_of_exec_are_renamed_for_the_member(received: str, sent: str) -> None:
    assert exec_query(received, "app") == sent


@given(ARGUMENTS)
def test_exec_passes_every_byte_of_a_command_in_order(arguments: list[bytes]) -> None:
    received = "&".join(f"command={quote(argument)}" for argument in arguments)
    assert values(exec_query(received, "app"), "command") == arguments


@given(ARGUMENTS, st.lists(st.sampled_from(["input=1", "output=1", "error=1", "tty=1"]), unique=True), st.randoms())
def test_exec_keeps_the_command_at_any_position_of_the_options(
    arguments: list[bytes], options: list[str], order: Random
) -> None:
    parts = [f"command={quote(argument)}" for argument in arguments]
    for option in options:
        parts.insert(order.randint(0, len(parts)), option)
    query = exec_query("&".join(parts), "app")
    assert values(query, "command") == arguments
    assert [part for part in query.split("&") if part.endswith("=true")] == [
        {"input=1": "stdin=true", "output=1": "stdout=true", "error=1": "stderr=true", "tty=1": "tty=true"}[part]
        for part in parts
        if part in options
    ]


@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_a_container_name_cannot_add_options(name: str) -> None:
    for query in (exec_query("", name), run_query(b"", name), member_query("", name)):
        assert values(query, "container") == [name.encode()]
        assert {part.partition("=")[0] for part in query.split("&")} <= {"container", "command", "stdout", "stderr"}


@pytest.mark.parametrize(
    ("received", "sent"),
    [
        ("", ""),
        ("port=80", "ports=80"),
        ("port=80&port=443&ports=8080", "ports=80&ports=443&ports=8080"),
        ("port=80%2C81&other=1", "ports=80%2C81"),
    ],
)
def test_the_option_port_becomes_ports(received: str, sent: str) -> None:
    assert port_forward_query(received) == sent


@pytest.mark.parametrize(
    ("received", "command"),
    [
        ("cmd=ls", [b"ls"]),
        ("cmd=ls+-l%20/", [b"ls", b"-l", b"/"]),
        ("cmd=a%26command%3Db", [b"a&command=b"]),
        ("cmd=first&cmd=second", [b"first"]),
        ("&cmd=query", [b"query"]),
    ],
)
def test_run_splits_the_command_line_at_spaces(received: str, command: list[bytes]) -> None:
    query = run_query(command_line(received), "app")
    assert values(query, "command") == command
    assert query.endswith("&stdout=true&stderr=true&container=app")


@given(st.binary(min_size=1, max_size=60))
def test_run_passes_every_byte_of_a_command_line(line: bytes) -> None:
    assert b" ".join(values(run_query(command_line(f"cmd={quote(line)}"), "app"), "command")) == line


@pytest.mark.parametrize(
    ("received", "sent"),
    [
        ("", {}),
        ("tailLines=0", {"tailLines": "0"}),
        ("follow=true&previous=false&timestamps=true", {"follow": "true", "previous": "false", "timestamps": "true"}),
        ("sinceSeconds=5&limitBytes=10&tailLines=3", {"sinceSeconds": "5", "limitBytes": "10", "tailLines": "3"}),
        ("sinceTime=2026-01-01T00:00:00%2B02:00", {"sinceTime": "2026-01-01T00:00:00+02:00"}),
        ("stream=Stderr", {"stream": "Stderr"}),
        ("container=other&insecureSkipTLSVerifyBackend=true&frob=1", {}),
    ],
)
def test_only_options_of_logs_pass(received: str, sent: dict[str, str]) -> None:
    assert dict(parse_qsl(member_query(received, "app"), keep_blank_values=True)) == {**sent, "container": "app"}
