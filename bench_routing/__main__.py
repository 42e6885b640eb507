"""Measures how well and how fast messages reach the right agent; `--write` puts the report into docs/routing.md."""

import argparse
import datetime
import os
import platform
import sys
from pathlib import Path

from aicp_router.matching.embedding import E5
from bench_routing import quality, speed
from bench_routing.data import DataAbsent, Set, Vault, load

REPORT = Path(__file__).parents[1] / "docs" / "routing.md"
MARK = "<!-- measured -->"
"""What stands above it in the report is written by hand."""

SIZES = ((1_000, 0), (1_000, 6_000), (10_000, 0), (10_000, 6_000))


def _table(title: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [title, ("---",) + ("---:",) * (len(title) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _profiles(whole: Set, vault: Vault | None) -> str:
    found = quality.profiles_alone(whole, vault)
    return _table(("way", "first choice right"), [(way, f"{share:.3f}") for way, share in found.items()])


def _learning(whole: Set, vault: Vault | None) -> str:
    ways = {
        "words alone": quality.learning(whole, None, quality.SEEDS),
        "words alone, newcomers being tried": quality.learning(whole, None, quality.SEEDS, trials=True),
    }
    if vault:
        ways["with embeddings"] = quality.learning(whole, vault, quality.SEEDS[:3])
    amounts = list(next(iter(ways.values())))
    return _table(
        ("matcher", *(f"{amount:,} outcomes" for amount in amounts)),
        [(way, *(f"{found[amount]:.3f}" for amount in amounts)) for way, found in ways.items()],
    )


def _halves(whole: Set) -> str:
    alone = quality.halves(whole, lambda half: quality.profiles_alone(half, None)["matcher, words alone"])
    plain = quality.halves(whole, lambda half: quality.profiles_alone(half, None)["TF-IDF, character 3-5-grams"])
    learned = quality.halves(whole, lambda half: quality.learning(half, None, quality.SEEDS)[1_000])
    rows = [
        ("TF-IDF, profiles alone", plain),
        ("matcher, profiles alone", alone),
        ("matcher, 1,000 outcomes", learned),
    ]
    return _table(
        ("way", "first half of the agents", "second half"),
        [(way, f"{first:.3f}", f"{second:.3f}") for way, (first, second) in rows],
    )


def _speed(whole: Set) -> str:
    rows = []
    for agents, outcomes in SIZES:
        times = speed.decisions(whole, agents, outcomes)
        figures = (times.p50, times.p99, times.p50_capability, times.put, times.learn)
        rows.append((f"{agents:,}", f"{outcomes:,}", *(f"{figure:.2f}" for figure in figures)))
    return _table(
        ("agents", "outcomes", "decision p50", "p99", "p50, capability wanted", "changing a profile", "an outcome"),
        rows,
    )


def report(folder: Path, vault: Vault | None) -> str:
    """All measurements, as Markdown."""
    whole, multilingual = load(folder), load(folder, "multilingual_")
    today = datetime.datetime.now(datetime.UTC).date()
    found = quality.multilingual(multilingual, vault)
    return "\n\n".join(
        [
            f"Made by `python -m bench_routing --write` on {today}, {platform.machine()}, {os.cpu_count()} cores.",
            "### Profiles alone",
            f"{len(whole.agents)} agents, {quality.MESSAGES:,} messages, medians over {len(quality.SEEDS)} seeds.",
            _profiles(whole, vault),
            "### After outcomes",
            "The same messages; the outcomes are of other messages.",
            _learning(whole, vault),
            "### Two halves of the agents",
            "Each half as a network of its own.",
            _halves(whole),
            "### Messages in other languages than the profiles",
            f"{len(multilingual.agents)} agents, {len(multilingual.messages)} messages in Korean and Chinese.",
            _table(("way", "first choice right"), [(way, f"{share:.3f}") for way, share in found.items()]),
            "### Speed",
            "Milliseconds, one core, without embedding.",
            _speed(whole),
        ]
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench_routing", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/routing"), help="default: %(default)s")
    parser.add_argument("--no-embeddings", action="store_true", help="measure words alone")
    parser.add_argument("--keep", type=Path, help="a file (.npz) to keep embeddings in between runs")
    parser.add_argument("--write", action="store_true", help=f"write {REPORT.name}")
    options = parser.parse_args()
    try:
        vault = None if options.no_embeddings else Vault(E5(), options.keep)
        text = report(options.data, vault)
    except DataAbsent as absent:
        sys.exit(f"bench_routing: {absent}")
    sys.stdout.write(text + "\n")
    if options.write:
        by_hand = REPORT.read_text("utf-8").split(MARK)[0]
        REPORT.write_text(f"{by_hand}{MARK}\n\n{text}\n", "utf-8")


if __name__ == "__main__":
    main()
