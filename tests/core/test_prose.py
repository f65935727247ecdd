"""What counts as said, judged by cmark-gfm, the very program that GitHub renders with."""

import random
import re
from html.parser import HTMLParser

import pytest

from bot.core.prose import only_said

cmarkgfm = pytest.importorskip("cmarkgfm", reason="cmark-gfm judges these: pip install cmarkgfm")
Options = pytest.importorskip("cmarkgfm.cmark").Options

HIDING = ("code", "pre", "blockquote", "a", "samp", "kbd")
PIECES = [
    *(
        "WORD",
        "WORD",
        "\n\nWORD\n\n",
        "text",
        "\n",
        "\n",
        "\n\n",
        "\n\n",
        " ",
        "    ",
        "\t",
        "\n  ",
        "\n\n  ",
        "\n\n    ",
    ),
    *("`", "`", "``", "```", "```\n", "````", "~~~\n", "`a`", "```x```", "\\`", "\\\\", "\\|", "\\["),
    *("> ", "- ", "* ", "-\n", "1. ", "2. ", "* * *\n", "---\n", "===\n", "# ", "\n\n|a|b|\n|-|-|\n|", "|"),
    *(
        "<!--",
        "<!--",
        "-->",
        "<!-- x -->",
        "<code>",
        "</code>",
        "<pre>\n",
        "</pre>",
        "<a>",
        "</a>",
        "<br>",
        '<b title="`">',
    ),
    *("<div>\n", "</div>\n", "<details>\n\n", "</details>", "[a](b)", "[u]: ", "_", "**", "<http://x>"),
]
QUOTE = re.compile(r"^(?:[ \t]|[-*+]|\d\.)*>", re.MULTILINE)
OPEN_ELEMENT = re.compile(r"<(code|pre|a)>(?!.*</\1>)", re.DOTALL)


class Page(HTMLParser):
    """Whether a page shows the word WORD outside of code, quotes and links."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.inside, self.shows = list[str](), False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside += [tag] * (tag in HIDING)

    def handle_endtag(self, tag: str) -> None:
        while tag in self.inside and self.inside.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        self.shows = self.shows or ("WORD" in data and not self.inside)


def shown(text: str) -> bool:
    return Page(cmarkgfm.github_flavored_markdown_to_html(text, Options.CMARK_OPT_UNSAFE)).shows


def texts(seed: int, count: int = 4000) -> list[str]:
    chance = random.Random(seed)
    return ["".join(chance.choices(PIECES, k=chance.randint(1, 9))) for _ in range(count)]


@pytest.mark.parametrize("seed", range(3))
def test_what_chance_puts_together_is_read_as_github_shows_it(seed: int) -> None:
    """But a line below a quote is said, so is what follows `<code>` without an end (`List<a>` stands in many a text), and
    `<!-->` is a comment, as in HTML and newer CommonMark.
    """
    missed, invented = list[str](), list[str]()
    for text in texts(seed):
        said = "WORD" in only_said(text)
        if said != shown(text):
            (invented if said else missed).append(text)
    assert missed == []
    assert [text for text in invented if not ("<!-->" in text or QUOTE.search(text) or OPEN_ELEMENT.search(text))] == []


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_moved_and_nothing_is_added(seed: int) -> None:
    for text in texts(seed, 1000):
        assert all(sign in (was, " ") for sign, was in zip(only_said(text), text, strict=True))
