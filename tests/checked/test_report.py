"""What is wrong is told at once, on stderr, in the file and by the exit status."""

from pathlib import Path

import pytest

from tests.support.checked.report import Report


def test_a_violation_is_one_line_on_stderr_and_in_the_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "report"
    report = Report(path)
    report.add("2025-11-25", "tools/call", ["no content", "no id"], '{"a":\n\r1}')
    report.add("2025-11-25", "", ["not JSON"], "x" * 1000)
    lines = path.read_text().splitlines()
    assert lines[0] == 'violation: 2025-11-25 tools/call: no content; no id | {"a":\\n\\r1}'
    assert lines[1] == f"violation: 2025-11-25 -: not JSON | {'x' * 500}…"
    assert len(lines) == report.violations == 2
    assert capfd.readouterr().err == path.read_text()


def test_there_is_no_file_without_a_violation_and_a_new_one_when_it_was_taken_away(tmp_path: Path) -> None:
    path = tmp_path / "report"
    report = Report(path)
    assert not path.exists()
    for _ in range(2):
        report.add("2025-11-25", "ping", ["wrong"], "{}")
        assert len(path.read_text().splitlines()) == 1
        path.unlink()


def test_reports_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "report"
    for name in ("a", "b"):
        report = Report(path)
        report.add("2025-11-25", name, ["wrong"], "{}")
    assert [line.split()[2] for line in path.read_text().splitlines()] == ["a:", "b:"]


def test_text_that_is_no_utf_8_is_told_too(tmp_path: Path) -> None:
    path = tmp_path / "report"
    report = Report(path)
    report.add("2025-11-25", "", ["wrong"], "\ud800")
    assert path.read_bytes() == b"violation: 2025-11-25 -: wrong | \\ud800\n"


def test_without_the_variable_there_is_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CHECKED_REPORT", raising=False)
    report = Report.from_environment()
    report.add("2025-11-25", "", ["wrong"], "{}")
    assert report.violations == 1
    monkeypatch.setenv("CHECKED_REPORT", str(tmp_path / "report"))
    report = Report.from_environment()
    report.add("2025-11-25", "", ["wrong"], "{}")
    assert (tmp_path / "report").exists()
