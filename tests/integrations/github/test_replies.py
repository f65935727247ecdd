"""What onhand says on GitHub, and that no words of an agent can do harm in it."""

from typing import Any

import pytest

from bot.core.inbound import Account, Origin, Repository, Thread, Trigger
from bot.core.markdown import closes_nothing, harmless
from bot.core.marks import carries_mark, mark, marked
from bot.core.mentions import Request, find_request
from bot.core.outbound import Change, Outcome, Say, Status, Task
from bot.core.ports import Proposal, Source
from bot.core.wording import LONGEST_TITLE, filled
from integrations.github.replies import propose, render

THREAD = Thread("github", "octo/hello", "12")


def asked(beneath: str = "") -> Trigger:
    origin = Origin("comment", "5", thread_id=beneath)
    return Trigger(THREAD, Account("github", "1", "octo-alice"), Request(), "comment:5", "mention", origin)


def said(status: Status, beneath: str = "") -> str:
    (call,) = render(asked(beneath), status, "status:1", "@onhand")
    assert isinstance(call, Say)
    assert (call.topic, call.thread, call.beneath) == ("status:1", THREAD, beneath)
    return call.text


def ended(ending: Any, text: str = "What came of it.", **more: Any) -> str:
    return said(Status("ended", run_id="r-1", outcome=Outcome(ending, more.pop("reason", ""), text), **more))


def proposal(**more: Any) -> Proposal:
    source = Source(Repository("github", "octo/hello"), "", "main", template=more.pop("template", ""))
    change = Change(
        "c" * 40, "b" * 40, (("src/login.py", 3, 1), ("tests/test_login.py", 10, 0)), ("Mend the redirect",)
    )
    usual: dict[str, Any] = {
        "topic": "change:onhand/12-x",
        "thread": THREAD,
        "source": source,
        "branch": "onhand/12-x",
        "change": change,
        "title": "Mend the redirect",
        "summary": "It went to the wrong page.",
        "requested_by": "octo-alice",
        "request_url": "https://github.example/octo/hello/issues/12#issuecomment-1",
        "run_id": "r-1",
    }
    return Proposal(**{**usual, **more})


def opened(**more: Any) -> Any:
    (call,) = propose(proposal(**more))
    return call


# --- the status comment ---------------------------------------------------------------------------------------------


def test_a_queued_request_hears_that_it_was_seen() -> None:
    assert said(Status("queued")).startswith("On it.")


def test_a_request_in_line_says_how_many_are_before_it() -> None:
    assert said(Status("queued", ahead=0)).startswith("On it: yours is next in line. I will")
    assert said(Status("queued", ahead=1)).startswith("On it: 1 request is before yours. I will")
    assert said(Status("queued", ahead=3)).startswith("On it: 3 requests are before yours. I will")


def test_a_question_names_the_choices_and_how_to_answer() -> None:
    text = said(Status("asking", question="Which repository do you mean?", choices=("github:octo/hello",)))
    assert "Which repository do you mean?" in text
    assert "`github:octo/hello`" in text
    assert "repo=owner/name" in text


def test_a_running_request_shows_tasks_step_and_cost() -> None:
    tasks = (Task("read it", "done"), Task("mend it", "in_progress"), Task("test it"))
    text = said(Status("running", "r-1", tasks, "make test | tail", 7, 0.123, details_url="https://onhand.example/c/1"))
    assert "- [x] read it\n- [ ] **mend it**\n- [ ] test it" in text
    assert "Last step: `make test | tail`" in text
    assert "7 steps · 0.12 USD · [details](https://onhand.example/c/1)" in text


def test_finished_work_links_its_pull_request() -> None:
    text = ended("finished", change_url="https://github.example/octo/hello/pull/13")
    assert "[pull request #13](https://github.example/octo/hello/pull/13)" in text


@pytest.mark.parametrize("ending", ["refused", "stopped", "limit", "failed"])
def test_every_other_ending_says_what_happened_and_names_the_run(ending: str) -> None:
    text = ended(ending)
    assert text.startswith("**")
    assert "What came of it." in text
    assert "`r-1`" in text


def test_what_was_refused_after_work_is_not_called_not_started() -> None:
    assert ended("refused").startswith("**I did not start.**")
    tasks = (Task("mend it", "done"),)
    late = ended("refused", "The right to write is gone.", steps=3, tasks=tasks)
    assert late.startswith("**I could not finish this.**")
    assert "- [x] mend it" in late
    assert "try again" not in late


def test_a_failure_says_why_and_what_to_do_next() -> None:
    text = ended("failed", reason="model")
    assert "language model" in text
    assert "`@onhand retry`" in text


def test_our_own_hint_does_not_call_us() -> None:
    for ending in ("stopped", "limit", "failed"):
        assert find_request(ended(ending), ["@onhand"]) is None


@pytest.mark.parametrize("ending", ["finished", "stopped", "failed"])
def test_images_that_were_not_looked_at_are_named_at_the_end(ending: str) -> None:
    assert "\n\nNot looked at: a.png (larger than 2 MB).\n\n" in ended(
        ending, unseen="Not looked at: a.png (larger than 2 MB)."
    )
    assert "&lt;img" in ended(ending, unseen="Not looked at: <img src=x>.")


def test_a_step_cannot_leave_its_code_span() -> None:
    text = said(Status("running", step="echo `whoami` \n\n# @octo-bob <!-- onhand:x -->"))
    assert "Last step: `echo 'whoami' # @octo-bob <!-- onhand:x -->`" in text


def test_an_address_that_is_none_is_not_linked() -> None:
    assert "javascript" not in ended(
        "finished", change_url="javascript:alert(1)", details_url="https://x.example/)[a](b"
    )


def test_an_overlong_text_is_cut_and_says_so() -> None:
    text = ended("finished", "word " * 50_000)
    assert len(marked(text, "status:1", 65_536)) <= 65_536
    assert "cut here" in text


def test_no_cut_opens_the_code_around_a_name() -> None:
    for length in range(59_850, 59_990):
        said = "word " * 11_900 + "`" + "see @octo-bob ".ljust(length - 59_502, "x") + "`"
        text = ended("finished", said)
        assert len(text) <= 60_000
        assert text.count("`", text.index("word")) % 2 == 0, length


# --- words of an agent ----------------------------------------------------------------------------------------------


def test_a_certain_piece_of_code_stays_as_it_is() -> None:
    text = "Use `npm i @octo/pkg`:\n\n```py\n@pytest.fixture\ndef x() -> List<int>: ...\n```\n"
    assert harmless(text) == text


def test_an_address_stays_usable() -> None:
    assert (
        harmless("see https://npm.example/@octo/pkg or me@example.com")
        == "see https://npm.example/%40octo/pkg or me@example.com"
    )


def test_no_picture_and_no_html_gets_through() -> None:
    safe = harmless("![x](https://evil.example/?q=1) <img src=x> <!-- hidden -->")
    assert "![" not in safe
    assert "<" not in safe


def test_text_made_harmless_stays_the_same_when_done_again() -> None:
    text = "hello @octo-bob, ![x](y) <b> `@z`\n\n    @indented\n"
    assert harmless(harmless(text)) == harmless(text)


@pytest.mark.parametrize("forged", ["<!-- onhand:status:1 -->", "<!--onhand:x-->", "<\u200b!-- onhand:status:2 -->"])
def test_a_mark_cannot_be_forged(forged: str) -> None:
    assert not carries_mark(ended("finished", f"done {forged}"))


def test_an_agents_text_never_calls_us() -> None:
    for text in ("@onhand stop", "- ```\n ```\n@onhand stop", "> x\n@onhand stop"):
        assert find_request(ended("finished", text), ["@onhand"]) is None
        assert find_request(opened(summary=text).body, ["@onhand"]) is None


def test_marks_of_different_topics_are_different_and_cannot_be_broken_out_of() -> None:
    topics = ["status:1", "status:11", "a-->b", "a--b", "a- -b", "a b", "é", "change:onhand/1-x", "a%2Db", ""]
    marks = [mark(topic) for topic in topics]
    assert len(set(marks)) == len(topics)
    assert all(m.count("-->") == 1 and m.endswith(" -->") for m in marks)
    assert not any(a in b for a in marks for b in marks if a is not b)


# --- the pull request -----------------------------------------------------------------------------------------------


def test_a_pull_request_says_what_why_and_for_whom() -> None:
    call = opened()
    assert (call.head, call.base, call.title, call.draft) == ("onhand/12-x", "main", "Mend the redirect", False)
    for part in ("It went to the wrong page.", "Fixes #12", "`src/login.py` (+3 -1)", "2 files, +13 -1", "@octo-alice"):
        assert part in call.body


def test_work_asked_in_a_pull_request_or_elsewhere_closes_nothing() -> None:
    assert "Fixes" not in opened(asked_in_change=True).body
    assert "Fixes" not in opened(thread=Thread("github", "octo/other", "12")).body
    assert "Fixes" not in opened(thread=Thread("slack", "C1", "12")).body


def test_a_summary_cannot_close_other_issues() -> None:
    assert closes_nothing("Fixes #1, closes: octo/x#2") == "Fixes the issue #1, closes: the issue octo/x#2"
    assert closes_nothing("Implements issue #1, fixing a/b/c#2") == "Implements the issue #1, fixing the issue a/b/c#2"
    assert "Resolves the issue #99" in opened(summary="Resolves #99").body


def test_a_title_is_one_line_of_lawful_length() -> None:
    title = opened(title="a\n# b " + "x" * 900).title
    assert "\n" not in title
    assert len(title) <= LONGEST_TITLE


def test_a_title_closes_and_pings_nothing() -> None:
    assert opened(title="Fixes #99 @carol add is wrong").title == "Fixes the issue #99 ＠carol add is wrong"  # noqa: RUF001


def test_a_stranger_elsewhere_is_named_but_not_pinged() -> None:
    assert "@" not in opened(thread=Thread("slack", "C1", "1"), requested_by="@octo-bob").body.replace(
        "`@octo-bob`", ""
    )


def test_a_long_list_of_files_is_cut_with_a_count() -> None:
    files = tuple((f"f{n}", 1, 0) for n in range(500))
    body = opened(change=Change("c", "b", files)).body
    assert "440 more files" in body
    assert "500 files, +500 -0" in body


TEMPLATE = """<!-- ## Description of nothing -->
# Hello

## Description

<!-- say what -->

## Checklist

- [ ] tests
- [ ] docs
"""


def test_a_template_keeps_its_headings_and_checklist() -> None:
    body = opened(template=TEMPLATE).body
    assert (
        body.index("## Description\n")
        < body.index("It went to")
        < body.index("<!-- say what -->")
        < body.index("## Checklist")
    )
    assert body.endswith("- [ ] tests\n- [ ] docs\n")


def test_a_template_without_a_fitting_heading_is_filled_below_its_first() -> None:
    assert filled("# Ticket\nX\n", "TEXT") == "# Ticket\n\nTEXT\n\nX\n"


@pytest.mark.parametrize("template", ["- [ ] Closes # (issue)\n- [ ] tests\n", "Is it a C# change?\n\n- [ ] tests\n"])
def test_a_sharp_sign_inside_a_line_is_no_heading(template: str) -> None:
    assert filled(template, "TEXT") == f"TEXT\n\n{template}"
    assert filled(f"{template}\n   ## What\n", "TEXT") == f"{template}\n   ## What\n\nTEXT\n\n"


def test_a_template_without_headings_stays_below_the_text() -> None:
    assert filled("- [ ] tests\n", "TEXT") == "TEXT\n\n- [ ] tests\n"


PATCH = "From cccc\n+````\n+<!-- onhand:status:1 --> @octo-alice\n"


def patched(patch: str) -> str:
    status = Status("ended", run_id="r-1", outcome=Outcome("finished", "", "Done."), patch=patch)
    _, call = render(asked(), status, "status:1", "@onhand")
    assert isinstance(call, Say)
    assert call.topic == "status:1:patch"
    return call.text


def test_a_patch_has_a_message_of_its_own_and_cannot_leave_its_fence() -> None:
    text = patched(PATCH)
    assert f"`````diff\n{PATCH}`````\n" in text
    assert "git am onhand.patch" in text


def test_a_patch_that_cannot_be_applied_says_why_instead_of_how() -> None:
    status = Status("ended", outcome=Outcome("finished"), patch=PATCH, patch_flaw="It has a flaw.")
    call = render(asked(), status, "status:1", "@onhand")[-1]
    assert isinstance(call, Say)
    assert ("It has a flaw." in call.text, "git am" in call.text) == (True, False)


def test_a_patch_that_is_too_long_says_so() -> None:
    text = patched("+" * 80_000)
    assert "of 80,000 characters only the first 50,000 stand here, so it cannot be applied as it is" in text
    assert text.count("+") == 50_000
    assert text.endswith("</details>")
