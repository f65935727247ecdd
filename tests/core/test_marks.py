"""By their hidden note we know whether a change's title and text still read as we wrote them."""

import pytest

from bot.core.marks import carries_mark, mark, noted, renewed

TOPIC, OLD, NEW = "change:onhand/1-x", "It is mended.\n\n- [ ] rules\n", "More of it.\n"
BODY = noted("Mend it", OLD, TOPIC, 60_000)
NEXT = noted("Mend more", NEW, TOPIC, 60_000)


def test_the_note_stands_below_the_mark_and_above_the_text() -> None:
    lines = BODY.split("\n")
    assert (lines[0], lines[2]) == (mark(TOPIC), "It is mended.")
    assert lines[1].startswith("<!-- onhand:text=")
    assert carries_mark(BODY)


def test_what_reads_as_it_was_written_is_renewed() -> None:
    assert renewed("Mend more", NEXT, "Mend it", BODY) == ("Mend more", NEXT)


@pytest.mark.parametrize("sent_back", [BODY.replace("\n", "\r\n"), BODY.rstrip(), f"{BODY}\n \n"])
def test_line_ends_and_blanks_of_a_platform_are_no_change_of_peoples(sent_back: str) -> None:
    assert renewed("Mend more", NEXT, " Mend it ", sent_back) == ("Mend more", NEXT)


@pytest.mark.parametrize(
    "theirs", [BODY.replace("[ ]", "[x]"), f"{BODY}\nOPS-1", BODY.replace(mark(TOPIC), ""), "mine", ""]
)
def test_a_text_that_people_changed_stays(theirs: str) -> None:
    assert renewed("Mend it", NEXT, "Mend it", theirs) == (None, None)


def test_a_title_that_people_changed_stays_and_is_ours_again_when_they_take_it_back() -> None:
    title, body = renewed("Mend more", NEXT, "Mend it (OPS-1)", BODY)
    assert title is None
    assert body is not None
    assert body.endswith(NEW)
    last = noted("Last", "The last.", TOPIC, 60_000)
    assert renewed("Last", last, "Mend it (OPS-1)", body)[0] is None
    assert renewed("Last", last, "Mend it", body) == ("Last", last)


def test_a_title_is_renewed_also_where_people_changed_the_text() -> None:
    assert renewed("Mend more", NEXT, "Mend it", f"{BODY}OPS-1") == ("Mend more", None)


def test_what_reads_so_already_is_not_written_again() -> None:
    assert renewed("Mend it", BODY, "Mend it", BODY) == (None, None)


def test_what_was_written_without_a_note_stays() -> None:
    assert renewed("Mend it", NEXT, "Mend it", f"{mark(TOPIC)}\nIt is mended.") == (None, None)


def test_a_text_that_is_too_long_is_known_again_as_it_was_cut() -> None:
    body = noted("Mend it", "word " * 50_000, TOPIC, 1_000)
    assert len(body) == 1_000
    assert renewed("Mend it", NEXT, "Mend it", body)[1] is not None
