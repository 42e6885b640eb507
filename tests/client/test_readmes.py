"""The README in three languages: what one tells people to run, the others tell too."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import GatewayProcess

UTF_8 = {**os.environ, "PYTHONIOENCODING": "utf-8"}
ROOT = Path(__file__).parents[2]
ENGLISH = (ROOT / "README.md").read_text(encoding="utf-8")
OTHERS = pytest.mark.parametrize("name", ["README.ko.md", "README.zh.md"])


def codes(text: str) -> set[str]:
    """What stands in backquotes outside of blocks: tools, commands, files, settings."""
    return {code for code in re.findall(r"`([^`\n]+)`", _without_blocks(text)) if code.isascii()}


def links(text: str) -> list[str]:
    """Where the links lead, but those to the other languages."""
    return [link for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith("README")]


def scripts(text: str) -> list[str]:
    """The programs of the first session."""
    return re.findall(r"\.venv/bin/python - <<'END'\n(.*?)\nEND\n", text, re.DOTALL)


def headings(text: str) -> list[int]:
    """The levels of the headings, in their order."""
    return [len(marks) for marks in re.findall(r"^(#+) ", _without_blocks(text), re.MULTILINE)]


def _without_words(program: str) -> str:
    """A program without what it says to people."""
    return re.sub(r'"[^"]*"|# .*', "", program)


def _without_blocks(text: str) -> str:
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


@OTHERS
def test_they_name_the_same_tools_commands_files_and_settings(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert codes(text) == {code for code in codes(ENGLISH) if "Sales grew" not in code}


@OTHERS
def test_their_first_session_is_the_same_program(name: str) -> None:
    theirs, ours = ((ROOT / one).read_text(encoding="utf-8") for one in (name, "README.md"))
    assert list(map(_without_words, scripts(theirs))) == list(map(_without_words, scripts(ours)))


@OTHERS
def test_they_lead_to_the_same_documents_in_the_same_chapters(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert sorted(links(text)) == sorted(links(ENGLISH))
    assert headings(text) == headings(ENGLISH)


@pytest.mark.parametrize(
    ("name", "asked", "answered"),
    [
        ("README.ko.md", "alice 님의 부탁: 매출이 어떻게 변했나요?", "completed bob 매출이 12% 늘었습니다."),
        ("README.zh.md", "alice 请求： 销售情况怎么样？", "completed bob 销售额增长了 12%。"),
    ],
)
def test_their_first_session_works_as_it_stands(hub: GatewayProcess, name: str, asked: str, answered: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert f"`{answered}`" in text
    bobs, alices = (script.replace("http://localhost:8080/mcp", hub.http_url) for script in scripts(text))
    # A language has agents of its own, for a session of another one may not have left yet.
    language = name.split(".")[1]
    bobs, alices = (re.sub(r"agent=(\w+)", rf"agent=\1-{language}", script) for script in (bobs, alices))
    bobs, alices = (script.replace('"analysis"', f'"analysis {language}"') for script in (bobs, alices))
    bob = subprocess.Popen([sys.executable, "-u", "-c", bobs], stdout=subprocess.PIPE, encoding="utf-8", env=UTF_8)
    try:
        assert bob.stdout is not None
        assert "Bob" in bob.stdout.readline()
        alice = subprocess.run(
            [sys.executable, "-c", alices], capture_output=True, encoding="utf-8", env=UTF_8, timeout=60, check=True
        )
        assert alice.stdout.startswith(answered.replace("bob", f"bob-{language}") + "\n")
        assert bob.stdout.readline() == asked.replace("alice", f"alice-{language}") + "\n"
    finally:
        bob.kill()
        bob.wait()
        if bob.stdout is not None:
            bob.stdout.close()
