"""`vk-provider doctor`: what is wrong with the parent and its members, and what to do about it."""

from __future__ import annotations

from typing import Final

import click
import msgspec
from rich.table import Table
from rich.text import Text

from vk_provider.cli import options, terminal
from vk_provider.cli.checks import Finding, Level, parent_findings
from vk_provider.cli.member_checks import member_findings
from vk_provider.cli.members import HOW_TO_JOIN, find_members
from vk_provider.cli.parent import Parent, execute, pass_parent
from vk_provider.cli.terminal import note, progress, say
from vk_provider.errors import counted

ERRORS_FOUND: Final = 3  # exit code
_STYLES: Final = {Level.OK: "green", Level.WARNING: "yellow", Level.ERROR: "red"}


@click.command(short_help="Find out what is wrong, and what to do.")
@click.argument("name", required=False, type=options.dns_label, metavar="[NAME]")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", help="Default: table.")
@click.option("-a", "--all", "everything", is_flag=True, help="Show also what is fine.")
@pass_parent
def doctor(parent: Parent, name: str | None, output: str, everything: bool) -> None:
    """Check the parent and all members, or one: versions, credentials and when they end, permissions, clocks, the way
    from the parent's API server to the kubelet API, and whether a provider runs. Each finding says what to do.

    The command changes nothing. Exit code 3: something does not work.
    """
    found = execute(_examine(parent, name))
    if output == "json":
        say(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    else:
        _show(found, everything)
    if any(one.level is Level.ERROR for one in found):
        raise click.exceptions.Exit(ERRORS_FOUND)


async def _examine(parent: Parent, name: str | None) -> list[Finding]:
    async with parent.connect() as client:
        with progress("asking the parent and its members"):
            members = await find_members(client, name)
            return await parent_findings(client) + await member_findings(client, members)


def _show(found: list[Finding], everything: bool) -> None:
    shown = [one for one in found if everything or one.level is not Level.OK]
    if shown:
        terminal.stdout().print(table(shown))
    say(summary(found))
    if all(one.subject == "parent" for one in found):
        note(f"no members; {HOW_TO_JOIN}")


def table(found: list[Finding]) -> Table:
    """A line for each finding, and below it what to do."""
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for header in ("OF", "CHECK", "RESULT"):
        shown.add_column(header, no_wrap=header != "OF")
    shown.add_column("WHAT", overflow="fold")
    for one in found:
        shown.add_row(one.subject, one.check, Text(one.level, style=_STYLES[one.level]), one.message)
        if one.remedy:
            shown.add_row("", "", "", Text(f"-> {one.remedy}", style="bold"))
    return shown


def summary(found: list[Finding]) -> str:
    """How many checks, and how many of them found something."""
    errors, warnings = (sum(one.level is level for one in found) for level in (Level.ERROR, Level.WARNING))
    return f"{counted(len(found), 'check')}: {counted(errors, 'error')}, {counted(warnings, 'warning')}"
