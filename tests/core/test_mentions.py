"""What counts as a mention, and how the verbs are read."""

import time

import pytest

from bot.core.mentions import Request, find_request

HANDLES = ["@onhand", "@onhand-bot"]


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("@onhand fix the login redirect", Request("work", "fix the login redirect")),
        ("@OnHand: fix it", Request("work", "fix it")),
        ("Could you look, @onhand?", Request("work", "Could you look, ?")),
        ("(@onhand) do it", Request("work", "() do it")),
        ("@onhand-bot fix it", Request("work", "fix it")),
        ("@onhand stop", Request("stop")),
        ("@onhand Stop, please!", Request("stop", ", please!")),
        ("That is wrong. @onhand retry", Request("retry", "That is wrong.")),
        ("@onhand stop using tabs", Request("work", "stop using tabs")),
        ("@onhand stop\n\n> I am **working** on it", Request("stop", "> I am **working** on it")),
        ("@onhand stop\r\n-- \r\nAlice, Acme", Request("stop", "-- \nAlice, Acme")),
        (
            "@onhand stop\n\nOn Tue, 3 Nov 2026 bot\n***@***.***> wrote:\n\nWorking",
            Request("stop", "On Tue, 3 Nov 2026 bot\n***@***.***> wrote:\n\nWorking"),
        ),
        ("@onhand stop `make`", Request("work", "stop `make`")),
        ("@onhand stop\n\nand never do it again", Request("work", "stop\n\nand never do it again")),
        ("@onhand status", Request("status")),
        ("@onhand plan the move to sqlite", Request("plan", "the move to sqlite")),
        ("@onhand model=fast budget=2 fix it", Request("work", "fix it", {"model": "fast", "budget": "2"})),
        ("@onhand fix it repo=acme/app, please", Request("work", "fix it  please", {"repo": "acme/app"})),
        ("> quoted\n\n@onhand fix it", Request("work", "> quoted\n\nfix it")),
        ("- a list\n    @onhand nested in it", Request("work", "- a list\n    nested in it")),
        ("`code` and @onhand fix it", Request("work", "`code` and fix it")),
        ("**@onhand** fix it", Request("work", "**** fix it")),
    ],
)
def test_a_mention_is_read(text: str, request_: Request) -> None:
    assert find_request(text, HANDLES) == request_


@pytest.mark.parametrize(
    "before",
    [
        "```npm test``` fails on main.\n\n",
        "It chokes on `<!--` in a template.\n\n",
        "```html\n<!-- open\n```\n",
        "It prints `foo and dies.\n\n",
        "an open <!-- comment within a paragraph\n\n",
        "a \\` sign, ",
        "- in a list\n  ```\n  a fence ends with it\n\n",
        "<!----> ",
        "<!--> ",
        "| a ` | b |\n|---|---|\n| a | ",
        "# a ` in a heading\n",
        "<div>\n`raw ",
        "\\<code> ",
        "[URGENT]: ",
        "[^1]: ",
        "see https://example.com/a<br>",
        "_",
    ],
)
def test_a_mention_that_everybody_sees_is_read(before: str) -> None:
    assert find_request(f"{before}@onhand please fix `bar` and <code>this</code>_ now", HANDLES)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nothing here",
        "`@onhand fix`",
        "``a ` @onhand``",
        "```\n@onhand fix\n```",
        "~~~py\n@onhand fix\n~~~",
        "```\n@onhand in a fence that never closes",
        "- item\n  ```\n  @onhand\n  ```",
        "text\n\n    @onhand in an indented block",
        "> @onhand quoted",
        "> > @onhand quoted twice",
        "- > @onhand quoted in a list",
        "<!-- @onhand -->",
        "<!-- @onhand in an open comment",
        "<!--\n\n@onhand after a blank line in it",
        "<details>\n<!-- a hint\n\n@onhand\n\n-->\n</details>",
        "`<!-- ` and `@onhand -->`",
        "```a\n@onhand\n```",
        "- a\n\n      @onhand indented in a list",
        "`a\nb @onhand`",
        "<code>@onhand</code>",
        "<pre>\n@onhand\n</pre>",
        "<blockquote>@onhand</blockquote>",
        "[@onhand](https://example.com)",
        "[see](https://example.com/@onhand)",
        "https://example.com/@onhand",
        "<https://example.com/@onhand>",
        "[1]: https://example.com/@onhand",
        "[1]: https://example.com/@onhand 'a title'",
        "[@onhand](https://example.com/a_(b) 'a title')",
        "see www.example.com?by=@onhand",
        "write to me@onhand.dev",
        "write to someone@onhand",
        "@onhand.dev is a domain",
        "@onhand/team is a team",
        "@onhandy is somebody else",
        "@onhand-bots is somebody else",
        "x@onhand",
        "@@onhand",
    ],
)
def test_what_is_not_newly_said_to_us_starts_nothing(text: str) -> None:
    assert find_request(text, HANDLES) is None


def test_hidden_characters_do_not_make_or_break_a_mention() -> None:
    assert find_request("@on\u200bhand fix\u202e it\x00", HANDLES) == Request("work", "fix it")


@pytest.mark.parametrize(
    "part",
    [
        "`",
        "` `` ",
        "<a>",
        "[",
        "[a](b",
        "<!--",
        "@onhand",
        "    \n",
        ">",
        "http://",
        "<a ",
        "[a]: ",
        "- ",
        "model=x ",
        "~~~\n",
        "stop\nOn \n",
        "`\n",
        "- a\n",
        "* - ",
        "a|b\n",
        "<div>\n<!--\n\n",
        "<a b='",
        "[](<",
        "_@onhand ",
    ],
)
def test_reading_is_linear_in_hostile_text(part: str) -> None:
    def seconds(size: int) -> float:
        text = part * (size // len(part)) + " @onhand fix"
        begin = time.thread_time()
        find_request(text, HANDLES)
        return time.thread_time() - begin

    seconds(10_000)
    assert seconds(160_000) < 40 * max(seconds(10_000), 0.002)
