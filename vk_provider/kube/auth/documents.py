"""Documents of kubeconfigs: read from files and merged as kubectl does, or from the text of a Secret.

    files, in their order --parse--> Document --merged: the first definition of a name wins--> Document --find--> Entry

Errors name the source and the field, and never quote a value: it may be a credential.
(https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/#merging-kubeconfig-files)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from vk_provider.errors import ConfigError

_STRINGS: Final = ("server", "tls-server-name", "proxy-url", "token", "tokenFile", "username", "password")
_SECTIONS: Final = {"contexts": "context", "clusters": "cluster", "users": "user"}  # section: field of its entries
_CHECK: Final = "check that kubectl accepts it"  # remedy


@dataclass(frozen=True)
class Entry:
    """A cluster, user or context. `folder` is that of the file that defines it; relative paths start there."""

    content: dict[str, Any] = field(repr=False)  # may hold secrets
    folder: Path | None = None


@dataclass(frozen=True)
class Document:
    """The sections of a kubeconfig, by name. `source` says where it comes from, for messages."""

    source: str
    current_context: str
    sections: Mapping[str, Mapping[str, Entry]]

    def find(self, section: str, name: str) -> Entry:
        """Raises ConfigError if that section has no entry of that name."""
        found = self.sections[section].get(name)
        if found is None:
            names = ", ".join(sorted(self.sections[section])) or "none"
            raise invalid(self.source, f"{section} has no entry {name!r}", f"it has: {names}")
        return found


def invalid(source: str, problem: str, remedy: str = "") -> ConfigError:
    """The error about a kubeconfig that cannot be used."""
    return ConfigError(f"{source}: {problem}", reason="KubeconfigInvalid", remedy=remedy)


def read(files: Sequence[Path], source: str) -> Document:
    """The merged document of the files; those that do not exist are skipped. Raises ConfigError."""
    parsed = []
    for file in files:
        try:
            parsed.append(parse(file.read_bytes(), f"kubeconfig {file}", file.absolute().parent))
        except FileNotFoundError:
            continue
        except OSError as error:
            raise invalid(f"kubeconfig {file}", str(error.strerror)) from error
    current = next((each.current_context for each in parsed if each.current_context), "")
    sections = {
        section: {name: entry for each in reversed(parsed) for name, entry in each.sections[section].items()}
        for section in _SECTIONS
    }
    return Document(f"kubeconfig {source}", current, sections)


def parse(data: bytes, source: str, folder: Path | None = None) -> Document:
    """The document of one kubeconfig. Raises ConfigError if it is not one."""
    try:
        document = yaml.safe_load(data)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        # The parser's message quotes the line with the error, which may be the one with the token.
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        raise invalid(source, f"not YAML{where}", _CHECK) from None
    if document is None:
        raise invalid(source, "is empty", _CHECK)
    if not isinstance(document, dict):
        raise invalid(source, "not a kubeconfig", _CHECK)
    sections = {section: _entries(document, section, source, folder) for section in _SECTIONS}
    return Document(source, str(document.get("current-context") or ""), sections)


def _entries(document: Mapping[str, Any], section: str, source: str, folder: Path | None) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    listed = document.get(section) or []
    if not isinstance(listed, list):
        raise invalid(source, f"{section} is not a list", _CHECK)
    for each in listed:
        content = each.get(_SECTIONS[section]) if isinstance(each, dict) else None
        if not isinstance(each, dict) or not isinstance(each.get("name"), str):
            raise invalid(source, f"an entry of {section} has no name")
        if content is not None and not isinstance(content, dict):
            raise invalid(source, f"{_SECTIONS[section]} {each['name']!r} is not a mapping")
        content = dict(content or {})
        for name in _STRINGS:
            if not isinstance(content.get(name, ""), str):
                raise invalid(source, f"{name} of {each['name']!r} is not a string", "write it in quotes")
        found.setdefault(each["name"], Entry(content, folder))
    return found
