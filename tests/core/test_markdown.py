"""Other people's Markdown made harmless, judged by cmark-gfm, the very program that GitHub renders with."""

import random
import re
from html import unescape
from html.parser import HTMLParser

import pytest

from bot.core.markdown import closes_nothing, cut, harmless

cmarkgfm = pytest.importorskip("cmarkgfm", reason="cmark-gfm judges these: pip install cmarkgfm")
Options = pytest.importorskip("cmarkgfm.cmark").Options

MENTION = re.compile(r"(?:^|[^A-Za-z0-9_`])@[A-Za-z0-9]")
HIDDEN_FROM_MENTIONS = ("code", "pre", "a", "style", "script")


class Page(HTMLParser):
    """Collects the text in which GitHub looks for mentions, and what should not be there at all."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.depth, self.pieces, self.bad = 0, [""], list[str]()
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.pieces.append("")
        self.depth += tag in HIDDEN_FROM_MENTIONS
        self.bad += ["a picture"] * (tag == "img")

    def handle_endtag(self, tag: str) -> None:
        self.pieces.append("")
        self.depth -= tag in HIDDEN_FROM_MENTIONS

    def handle_comment(self, data: str) -> None:
        self.bad.append("a comment")

    def handle_data(self, data: str) -> None:
        if not self.depth:
            self.pieces[-1] += data


def harm(text: str) -> list[str]:
    """What a text does on GitHub that it should not."""
    page = Page(cmarkgfm.github_flavored_markdown_to_html(text, Options.CMARK_OPT_UNSAFE))
    return [*page.bad, *(piece for piece in page.pieces if MENTION.search(piece))]


@pytest.mark.parametrize(
    "text",
    [
        "@octo-bob",
        "see @octo/team now",
        "@octo-alice@octo-bob",
        "*@octo-bob*",
        "_@octo-bob_",
        "a\\\\@octo-bob",
        "&#64;octo-bob",
        "&commat;octo-bob",
        "@&#111;cto-bob",
        "<div>\n```\n@octo-bob\n```\n</div>",
        "- ```\n  x\n  ```\n@octo-bob",
        "``` x\n```\n@octo-bob",
        "https://x.example/` @octo-bob `",
        "a | b\n---|---\n`a | @octo-bob ` x",
        "![x](https://evil.example/?q=1)",
        "<img src=x>",
        "<!-- onhand:status:1 -->",
    ],
)
def test_harm_is_seen_and_undone(text: str) -> None:
    assert harm(text)
    assert not harm(harmless(text))


@pytest.mark.parametrize(
    "text",
    [
        "\\@octo-bob",
        "@\u200bocto-bob",
        "` a\nb ` @octo-bob `",
        "`a`@octo-bob `b`",
        "x\u2028```\n@octo-bob\n```",
        "\\`@octo-bob`",
    ],
)
def test_what_comes_near_to_harm_does_none(text: str) -> None:
    assert not harm(harmless(text))


ATOMS = [
    *(
        "@bob",
        "@bob/team ",
        "me@x.y",
        "`",
        "``",
        "```",
        "~~~",
        "~~",
        "\n",
        "\n\n",
        "\t",
        " ",
        "    ",
        "\\",
        "- ",
        "> ",
        "1. ",
        "# ",
    ),
    *(
        "|",
        "---",
        "|\n---|---\n",
        "a",
        "https://x",
        "https://x.y/",
        "www.x.y",
        "<https://x.y>",
        "<",
        ">",
        "<b>",
        "<div>",
        "<!--",
    ),
    *(
        "-->",
        "<pre>",
        "</pre>",
        "[",
        "]",
        "(",
        ")",
        "![",
        "[a]: x",
        "[^1]",
        "*",
        "_",
        "**",
        "&#64;",
        "&commat;",
        "\u2028",
        "\x0b",
        "\r",
    ),
]


@pytest.mark.parametrize("seed", range(5))
def test_nothing_that_chance_puts_together_does_harm(seed: int) -> None:
    chance = random.Random(seed)
    texts = ("".join(chance.choices(ATOMS, k=chance.randint(1, 14))) for _ in range(4000))
    assert [text for text in texts if harm(harmless(text))] == []


def test_what_is_harmless_can_be_cut_anywhere() -> None:
    text = harmless("see @octo-bob and `@octo/pkg, @octo/lib`\n" * 3 + "```\n@fixture `x\n```\n")
    assert [
        longest for longest in range(40, len(text)) if harm(cut(text, longest)) or len(cut(text, longest)) > longest
    ] == []


@pytest.mark.parametrize(
    "text",
    ["Fixes &#35;98", "Fixes &num;98", "F&#105;xes #98", "F&#x69;xes #98", "closes GH&#45;98", "fixes&Tab;#98 &lt;b>"],
)
def test_words_made_of_entities_close_nothing(text: str) -> None:
    closing = re.compile(r"(?:fixes|closes)\s+(?:#|GH-)\d", re.IGNORECASE)
    page = Page(cmarkgfm.github_flavored_markdown_to_html(text))
    assert closing.search(page.pieces[-1] + page.pieces[-2])
    page = Page(cmarkgfm.github_flavored_markdown_to_html(closes_nothing(harmless(text))))
    assert not closing.search("".join(page.pieces))


@pytest.mark.parametrize("text", ["A &amp; B, &#35;1 &lt;b&gt;", "&&#35;64;octo-bob fixes #1"])
def test_other_entities_stay(text: str) -> None:
    assert closes_nothing(text) == text.replace("fixes #", "fixes the issue #")


@pytest.mark.parametrize(
    "reference", ["GL-3", "gl-3", "[issue:3]", "[issue:acme/shop/3]", "[work_item:3]", "issue GL-3", "&#91;issue:3]"]
)
def test_an_issue_under_another_name_that_gitlab_knows_is_not_closed(reference: str) -> None:
    """https://docs.gitlab.com/user/markdown/#gitlab-specific-references"""
    obeyed = re.compile(r"fixes:? +(?:issues? +)?(?:GL-|\[(?:issue|work_item):)", re.IGNORECASE)
    assert not obeyed.search(unescape(closes_nothing(f"Fixes {reference} at last").replace("&amp;", "")))
    assert closes_nothing("Fixes GL and [issues]") == "Fixes GL and [issues]"
