"""A short campaign of the fuzzer; `make fuzz` runs long ones."""

from pathlib import Path

import pytest

from tests.fuzz.engine import campaign

SECONDS = 20


@pytest.mark.slow
def test_the_fuzzer_finds_nothing_in_a_while(tmp_path: Path) -> None:
    outcome = campaign(SECONDS, tmp_path / "corpus", tmp_path / "findings")
    assert outcome.findings == [], outcome.log[-6000:]
    # It did look: even a busy machine plays more than the seeds, and reaches more than they do.
    assert outcome.executions > 500, outcome.log[-2000:]
    assert outcome.coverage > 400, outcome.log[-2000:]
    assert any((tmp_path / "corpus").iterdir())
