"""Usage, options and errors of the command line that need no cluster."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from tests.command_line import vk
from vk_provider.cli import options, root
from vk_provider.cli.install import definition, is_current

NO_SERVER = "https://127.0.0.1:1"  # nothing listens on port 1


def kubeconfig(user: dict[str, Any], server: str = NO_SERVER) -> str:
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": server}}],
            "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "it", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "it",
        }
    )


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory with the kubeconfig `member.yaml`, which also names the parent."""
    (tmp_path / "member.yaml").write_text(kubeconfig({"token": "s3cret"}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KUBECONFIG", "member.yaml")


def failed(*args: str) -> str:
    """Expects exit code 1, and returns the single line of the error."""
    result = vk(*args)
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def misused(*args: str) -> str:
    """Expects exit code 2, and returns the error about wrong usage."""
    result = vk(*args)
    assert (result.exit_code, result.stdout) == (2, "")
    return result.stderr


# Usage.


_COMMANDS = ("join", "unjoin", "status", "run", "fence", "confirm", "plan-failover", "render")


@pytest.mark.parametrize("command", [[], *([name] for name in _COMMANDS)])
def test_every_command_has_help(command: list[str]) -> None:
    result = vk(*command, "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage: ")
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_help_of_join_has_an_example() -> None:
    assert re.search(r"Example:\n +vk-provider join west --kubeconfig west.yaml", vk("join", "--help").stdout)


def test_version() -> None:
    assert re.fullmatch(r"\S+ \d+\.\d+\.\d+\S*\n", vk("--version").stdout)


@pytest.mark.parametrize("name", ["West", "-west", "west-", "we_st", "we.st", "w" * 64, ""])
@pytest.mark.parametrize(
    "command", [["join", "--kubeconfig", "member.yaml"], ["unjoin", "--yes"], ["status"], ["fence"], ["confirm"]]
)
def test_a_name_is_a_dns_label(command: list[str], name: str) -> None:
    assert "'" + name + "'" in misused(*command, "--", name)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--label", "zone"),
        ("--label", "=a"),
        ("--label", "a/b/c=d"),
        ("--label", "/b=c"),
        ("--label", "zone=a b"),
        ("--label", "zone=" + "a" * 64),
        ("--taint", "gpu=yes"),
        ("--taint", "gpu=yes:Sometimes"),
        ("--taint", ":NoSchedule"),
        ("--taint", "gpu=a b:NoSchedule"),
        ("--capacity", "cpu"),
        ("--capacity", "cpu="),
        ("--capacity", "cpu=many"),
        ("--capacity", "cpu=-1"),
        ("--capacity", "=1"),
        ("--node-name", "West"),
        ("--namespace-prefix", "-p"),
        ("--namespace-prefix", "p" * 41),
        ("--api-access", "Both"),
        ("--timeout", "0"),
    ],
)
def test_the_error_about_a_malformed_option_of_join_names_the_option(option: str, value: str) -> None:
    assert f"'{option}'" in misused("join", "west", "--kubeconfig", "member.yaml", option, value)


@pytest.mark.parametrize(("option", "values"), [("--label", ("a=1", "a=2")), ("--capacity", ("cpu=1", "cpu=2"))])
def test_a_key_that_is_given_twice_is_wrong_usage(option: str, values: tuple[str, str]) -> None:
    message = misused("join", "west", "--kubeconfig", "member.yaml", option, values[0], option, values[1])
    assert f"'{option}'" in message and "twice" in message


def test_join_needs_the_members_kubeconfig() -> None:
    assert "--kubeconfig" in misused("join", "west")


@pytest.mark.parametrize(
    "args", [["status", "-o", "yaml"], ["unjoin", "west", "-o", "xml"], ["run", "--log-format", "x"]]
)
def test_an_unknown_format_is_wrong_usage(args: list[str]) -> None:
    assert "is not one of" in misused(*args)


def test_an_unknown_command_is_wrong_usage() -> None:
    assert "'jion'" in misused("jion")


# Options.


def test_a_label_may_have_a_domain_and_no_value() -> None:
    assert options.label("topology.kubernetes.io/region=eu-west") == ("topology.kubernetes.io/region", "eu-west")
    assert options.label("spot=") == ("spot", "")


def test_a_taint_may_have_no_value() -> None:
    assert options.taint("gpu=yes:NoExecute") == {"key": "gpu", "value": "yes", "effect": "NoExecute"}
    assert options.taint("example.com/gpu:NoSchedule") == {"key": "example.com/gpu", "effect": "NoSchedule"}


def test_a_capacity_keeps_the_text_of_its_quantity() -> None:
    assert options.capacity("nvidia.com/gpu=4") == ("nvidia.com/gpu", "4")
    assert options.capacity("memory=1.5Ti") == ("memory", "1.5Ti")


# Errors that users can correct: one line, exit code 1.


def test_join_names_a_missing_kubeconfig() -> None:
    assert failed("join", "west", "--kubeconfig", "nope.yaml") == "error: kubeconfig nope.yaml: no such file"


@pytest.mark.parametrize("content", ["", "- a\n", "a: [", "apiVersion: v1\nkind: Config\n", "\x00"])
def test_join_names_a_malformed_kubeconfig(content: str) -> None:
    Path("bad.yaml").write_text(content)
    assert "kubeconfig bad.yaml" in failed("join", "west", "--kubeconfig", "bad.yaml")


def test_join_names_a_missing_context() -> None:
    assert "staging" in failed("join", "west", "--kubeconfig", "member.yaml", "--context", "staging")


def test_join_rejects_an_exec_plugin_and_names_an_alternative() -> None:
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "cloud", "interactiveMode": "Never"}
    Path("exec.yaml").write_text(kubeconfig({"exec": plugin}))
    message = failed("join", "west", "--kubeconfig", "exec.yaml")
    assert "exec plugin" in message and "ServiceAccount" in message


def test_join_names_the_member_if_it_does_not_answer() -> None:
    message = failed("join", "west", "--kubeconfig", "member.yaml")
    assert message.startswith(f"error: member west: {NO_SERVER}") and "s3cret" not in message


@pytest.mark.parametrize("args", [["status"], ["unjoin", "west", "--yes"], ["plan-failover", "west"]])
def test_commands_name_the_parent_if_it_does_not_answer(args: list[str]) -> None:
    message = failed(*args)
    assert (
        message.startswith(f"error: parent cluster {NO_SERVER}") and "--context" in message and "s3cret" not in message
    )


def test_the_kubeconfig_option_before_the_command_is_for_the_parent() -> None:
    assert failed("--kubeconfig", "nope.yaml", "status") == "error: kubeconfig nope.yaml: no such file"
    assert "staging" in failed("--context", "staging", "status")


def test_the_error_without_any_kubeconfig_names_the_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    message = failed("status")
    assert "no parent cluster" in message and "--kubeconfig" in message


def test_unjoin_stops_if_it_cannot_ask_for_confirmation() -> None:
    assert "--yes" in failed("unjoin", "west")


def _fails_with(error: BaseException) -> click.Group:
    @click.command()
    def fail() -> None:
        raise error

    group = root._Group("vk-provider")
    group.add_command(fail)
    return group


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_an_interrupt_has_exit_code_130(error: BaseException) -> None:
    result = CliRunner().invoke(_fails_with(error), ["fail"])
    assert (result.exit_code, result.output.strip()) == (130, "")


def test_an_unexpected_exception_is_not_hidden() -> None:
    defect = ZeroDivisionError()
    assert CliRunner().invoke(_fails_with(defect), ["fail"]).exception is defect


def test_fence_needs_the_complete_confirmation() -> None:
    result = vk("fence", "west")
    assert (result.exit_code, "--confirmed-down" in result.stderr) == (1, True)


def test_run_rejects_an_invalid_kubelet_address() -> None:
    result = vk("run", "--kubelet-address", "somewhere")
    assert result.exit_code == 2
    assert "'somewhere' is not an IP address" in result.output


# The CustomResourceDefinition that join installs.


def test_the_definition_is_found() -> None:
    assert definition()["metadata"]["name"] == "memberclusters.vk-provider.io"


def test_a_definition_that_lacks_a_field_is_not_current() -> None:
    wanted = definition()["spec"]
    present = definition()["spec"] | {"conversion": {"strategy": "None"}}
    assert is_current(present, wanted)
    del present["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["apiAccess"]
    assert not is_current(present, wanted)
