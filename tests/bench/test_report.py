"""What is measured by itself replaces its own section of the report and nothing else."""

from bench.report import renewed, section, whole

TITLES = ["One", "Two", "Three", "Four"]


def report() -> str:
    return whole([section(title, f"How {title} was done.", f"| {title} | 1 |") for title in ("One", "Two", "Four")], 5)


def test_a_section_that_was_measured_again_says_when_and_how_and_the_others_stay() -> None:
    new = renewed(report(), {"Two": section("Two", "How.", "| Two | 2 |")}, TITLES, "python -m bench two")
    assert "| Two | 2 |" in new
    assert "| Two | 1 |" not in new
    assert new.count("Measured by itself: ") == 1
    assert "`python -m bench two`" in new
    one, four = (section(title, f"How {title} was done.", f"| {title} | 1 |") for title in ("One", "Four"))
    assert one + "\n\n## Two" in new
    assert new.endswith(four + "\n")
    assert new.startswith(report().partition("## ")[0])


def test_a_new_section_gets_its_place_in_the_order_of_the_parts() -> None:
    new = renewed(report(), {"Three": section("Three", "How.", "| Three | 3 |")}, TITLES, "python -m bench three")
    assert [line for line in new.splitlines() if line.startswith("## ")] == ["## One", "## Two", "## Three", "## Four"]


def test_what_is_no_part_any_more_leaves_the_report() -> None:
    assert "## Four" not in renewed(report(), {}, TITLES[:3], "python -m bench")


def test_a_report_that_is_renewed_with_nothing_stays_as_it_is() -> None:
    assert renewed(report(), {}, TITLES, "python -m bench") == report()
