"""Jira's two markups: what is read out of them, and that no words of ours do harm in them."""

import json
import random
import re
import time
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft4Validator

from bot.core.mentions import find_request
from bot.core.wording import status_markdown
from bot.testing.integrations import ENDINGS
from integrations.jira import adf, wiki

SCHEMA = Draft4Validator(json.loads((Path(__file__).parent / "adf.json").read_bytes()))
US = "712020:b07"
PIECES = (
    *(
        "# ",
        "- ",
        "- [ ] ",
        "- [x] ",
        "1. ",
        "> ",
        "    ",
        "```",
        "`",
        "**",
        "_",
        "~~",
        "\n",
        "\n\n",
        "---",
        "| 1 |",
        "\\",
        "word",
    ),
    *("| a | b |\n| - | - |\n", "<details>", "</b>", "<!-- ", "&lt;", "[a](https://x.example/y)", "[x](javascript:y)"),
    *(
        "![i](https://x.example/i.png)",
        "[~bob]",
        "{code}",
        "{noformat}",
        "{{",
        "}}",
        "h1. ",
        "!x.png!",
        "||",
        "@onhand",
    ),
)


def ours(name: str) -> str:
    return "@onhand" if name in (US, "onhand") else ""


def asked(text: Any) -> bool:
    said = adf.markdown(text, ours) if isinstance(text, dict) else wiki.markdown(text, ours)
    return find_request(said, ("@onhand",)) is not None


def doc(*content: Any) -> dict[str, Any]:
    return {"type": "doc", "version": 1, "content": list(content)}


def paragraph(*content: Any) -> dict[str, Any]:
    return {"type": "paragraph", "content": list(content)}


def words(text: str, *marks: str) -> dict[str, Any]:
    return {"type": "text", "text": text, "marks": [{"type": mark} for mark in marks]}


MENTION = {"type": "mention", "attrs": {"id": US, "text": "@anything"}}

# --- reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "@onhand fix it",
        f"[~accountid:{US}] fix it",
        "[~onhand] fix it",
        "Hello,\r\n\r\n@onhand fix it",
        "h1. Title\n@onhand fix it",
        "* a\n** @onhand fix it",
        "{quote}\nno\n{quote}\n@onhand fix it",
        "{code}no{code} @onhand fix it",
        "{color:red}@onhand{color} fix it",
        "{panel:title=x}\n@onhand fix it\n{panel}",
        "*@onhand* fix it",
        "\\{code} @onhand fix it",
        "a\\_b @onhand",
    ],
)
def test_wiki_markup_that_asks(text: str) -> None:
    assert asked(text)


@pytest.mark.parametrize(
    "text",
    [
        "{code}@onhand fix it{code}",
        "{code:title=a.py|borderStyle=solid}\n@onhand\n{code}",
        "{code}\n```\n@onhand\n{code}",
        "{noformat}@onhand{noformat}",
        "{code}{noformat}{code}{code} @onhand {code}",
        "{code} @onhand fix it",
        "{{@onhand}}",
        "{{a \\{b\\} @onhand}}",
        "{quote}@onhand{quote}",
        "{quote}\nyes\n\n@onhand\n{quote}",
        "{quote}{code}x{code}\n@onhand{quote}",
        "bq. @onhand fix it",
        "> @onhand fix it",
        "[@onhand|https://example.org]",
        "https://example.org/@onhand",
        "[https://example.org/@onhand]",
        "[mail|mailto:x@onhand]",
        "me@onhand.example",
        f"\\[~accountid:{US}\\]",
        "[~accountid:somebody]",
        "[~Onhand Fan]",
    ],
)
def test_wiki_markup_that_does_not_ask(text: str) -> None:
    assert not asked(text)


@pytest.mark.parametrize(
    "document",
    [
        doc(paragraph(MENTION, words(" fix it"))),
        doc(paragraph(words("@onhand fix it"))),
        doc(paragraph(words("x"), {"type": "hardBreak"}, words("@onhand", "strong"))),
        doc({"type": "bulletList", "content": [{"type": "listItem", "content": [paragraph(MENTION)]}]}),
        doc({"type": "panel", "attrs": {"panelType": "info"}, "content": [paragraph(MENTION)]}),
        doc({"type": "blockquote", "content": [paragraph(words("no"))]}, paragraph(MENTION)),
    ],
)
def test_a_document_that_asks(document: Any) -> None:
    assert asked(document)


@pytest.mark.parametrize(
    "document",
    [
        doc({"type": "blockquote", "content": [paragraph(MENTION)]}),
        doc({"type": "blockquote", "content": [paragraph(words("x")), paragraph(words("@onhand"))]}),
        doc({"type": "codeBlock", "content": [words("```\n@onhand fix it")]}),
        doc(paragraph(words("@onhand", "code"))),
        doc(
            paragraph(
                {"type": "text", "text": "@onhand", "marks": [{"type": "link", "attrs": {"href": "https://x.example"}}]}
            )
        ),
        doc(paragraph({"type": "inlineCard", "attrs": {"url": "https://example.org/@onhand"}})),
        doc(paragraph({"type": "mention", "attrs": {"id": "somebody", "text": "@onhand"}})),
        doc(paragraph({"type": "mention", "attrs": None}), {"type": "mention"}, {"content": "x"}, 7, None),
        {"type": "text", "text": None, "marks": [1, {"type": "link", "attrs": []}]},
        {},
    ],
)
def test_a_document_that_does_not_ask(document: Any) -> None:
    assert not asked(document)


def test_a_document_reads_like_markdown() -> None:
    told = adf.markdown(
        doc(
            paragraph(words("See "), words("a.py", "code")),
            {"type": "codeBlock", "content": [words("x = 1")]},
            {"type": "bulletList", "content": [{"type": "listItem", "content": [paragraph(words("one"))]}]},
            paragraph({"type": "emoji", "attrs": {"shortName": ":x:"}}, {"type": "status", "attrs": {"text": "OPEN"}}),
        ),
        ours,
    )
    assert told == "See `a.py`\n\n\n```\nx = 1\n```\n\n- one\n\n:x:OPEN"


def test_long_texts_are_read_in_linear_time() -> None:
    """Ten times the text takes about ten times as long, whatever stands in it; a square would take a hundred times."""
    for piece in (*PIECES, "[~", "{code:", "{{\\", "[a|", "bq. ", "{quote}", "{color:"):

        def took(count: int, piece: str = piece) -> float:
            begun = time.process_time()
            wiki.markdown(piece * count, ours)
            return time.process_time() - begun

        small, large = min(took(500) for _ in range(3)), min(took(5_000) for _ in range(3))
        assert large < 40 * small + 0.01, piece


# --- writing ----------------------------------------------------------------------------------------------------------


def markdowns(count: int = 600) -> list[str]:
    chance = random.Random(7)
    return ["".join(chance.choice(PIECES) for _ in range(chance.randint(1, 25))) for _ in range(count)]


def test_every_markdown_becomes_a_document_of_atlassians_schema() -> None:
    for text in markdowns(150):
        problems = [f"{list(error.path)}: {error.message[:200]}" for error in SCHEMA.iter_errors(adf.document(text))]
        assert problems == [], text


def test_no_markdown_mentions_anybody_or_loads_anything() -> None:
    for text in markdowns():
        assert not {"mention", "media", "inlineCard"} & set(
            re.findall(r'"type": "(\w+)"', json.dumps(adf.document(text)))
        )
        outside = re.sub(r"\{(code|noformat)\}\n.*?\n\{\1\}", "", wiki.markup(text), flags=re.DOTALL)
        assert not re.search(r"(?<!\\)\[~|(?<!\\)!\S+!", outside), (text, outside)


def test_every_task_has_a_name_of_its_own() -> None:
    told = json.dumps(adf.document("- [x] a\n- [ ] b\n\nand\n\n- [ ] a\n"))
    names = re.findall(r'"localId": "([^"]+)"', told)
    assert len(set(names)) == len(names) == 5


def test_an_escaped_handle_is_read() -> None:
    assert find_request(wiki.markdown("@acme\\_bot fix it", ours), ("@acme_bot",))


def test_a_status_reads_the_same_in_all_three() -> None:
    for status in ENDINGS:
        text = status_markdown(status, "@onhand")
        told = re.sub(r"[`*\[\]x]|^- ", "", text, flags=re.MULTILINE).split()
        for back in (adf.markdown(adf.document(text), ours), wiki.markdown(wiki.markup(text), ours)):
            assert set(told) - {"·"} <= set(re.sub(r"[`*\[\]x]", "", back).split()), (text, back)


def test_none_of_our_own_words_ask_us() -> None:
    for status in ENDINGS:
        text = status_markdown(status, "@onhand")
        assert not asked(adf.document(text))
        assert not asked(wiki.markup(text))


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("**Done:** [x](https://a.example/b_c)", "*Done:* [x|https://a.example/b_c]"),
        ("- [x] one\n- [ ] two", "* (/) one\n* two"),
        ("1. a\n   - b", "# a\n#* b"),
        ("```py\nx = '*'\n```", "{code}\nx = '*'\n{code}"),
        ("```\n{code}\n```", "{noformat}\n{code}\n{noformat}"),
        ("[~bob] {color} a*b", "\\[\\~bob\\] \\{color\\} a\\*b"),
        ("`a_b`", "{{a\\_b}}"),
        ("> a\n>\n> b", "{quote}\na\n\nb\n{quote}"),
        ("| a |\n| - |\n| b |", "|| a ||\n| b |"),
        ("https://a.example/x_y_z", "https://a.example/x_y_z"),
        ("<details><summary>Show</summary>\n\nx\n\n</details>", "Show\n\nx"),
        ("[x](javascript:y)", "\\[x\\](javascript:y)"),
    ],
)
def test_markdown_as_wiki_markup(text: str, written: str) -> None:
    assert wiki.markup(text) == written
