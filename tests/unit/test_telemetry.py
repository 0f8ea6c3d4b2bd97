"""Log records as lines: fields, times, and values with quotes and line breaks."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from vk_provider import telemetry
from vk_provider.telemetry import LogFormat


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root, package = logging.getLogger(), logging.getLogger("vk_provider")
    handlers, level = list(root.handlers), package.level
    yield
    root.handlers[:] = handlers
    package.setLevel(level)


log = logging.getLogger("vk_provider.test")


def _lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_the_text_format_quotes_only_values_that_need_it(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.setup(LogFormat.TEXT, level=logging.INFO)
    log.info("member pod created", extra={"pod": "shop/web-1", "detail": 'say "hi"\nx=1', "none": None, "empty": ""})
    (line,) = _lines(capsys)
    time, _, rest = line.partition(" ")
    assert time.startswith("time=") and len(time) == len("time=2025-01-02T03:04:05.678Z") and time.endswith("Z")
    assert rest == (
        'level=info logger=vk_provider.test message="member pod created" pod=shop/web-1'
        r' detail="say \"hi\"\nx=1" none=null empty=""'
    )


def test_the_json_format_keeps_the_types_of_fields(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.setup(LogFormat.JSON, level=logging.INFO)
    log.warning("watch failed", extra={"attempt": 3, "ok": False, "error": ValueError("no"), "time": "theirs"})
    record = json.loads(_lines(capsys)[0])
    assert record["message"] == "watch failed"
    assert (record["attempt"], record["ok"], record["error"]) == (3, False, "no")
    assert record["time"].endswith("Z") and record["time_"] == "theirs"


@pytest.mark.parametrize("value", [object(), {1: object()}, "\ud800", float("nan"), {frozenset(): 1}, 2**80])
@pytest.mark.parametrize("format", LogFormat)
def test_a_log_call_succeeds_with_any_fields(
    format: LogFormat, value: object, capsys: pytest.CaptureFixture[str]
) -> None:
    telemetry.setup(format, level=logging.INFO)
    log.info("odd", extra={"value": value})
    (line,) = _lines(capsys)
    assert "odd" in line
    if format is LogFormat.JSON:
        assert "value" in json.loads(line)


def test_the_json_format_has_the_traceback_in_the_same_line(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.setup(LogFormat.JSON, level=logging.INFO)
    try:
        raise ValueError("no")
    except ValueError:
        log.exception("member failed")
    (line,) = _lines(capsys)
    assert json.loads(line)["exception"].endswith("ValueError: no")


def test_a_second_setup_does_not_duplicate_lines(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.setup(LogFormat.TEXT, level=logging.WARNING)
    telemetry.setup(LogFormat.TEXT, level=logging.INFO)
    log.info("once")
    assert len(_lines(capsys)) == 1


def test_debug_records_appear_only_at_level_debug(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.setup(LogFormat.TEXT, level=logging.INFO)
    log.debug("quiet")
    telemetry.setup(LogFormat.TEXT, level=logging.INFO, verbose=True)
    log.debug("loud")
    (line,) = _lines(capsys)
    assert "message=loud" in line
