"""Between Markdown and Slack's markup."""

import pytest

from integrations.slack.mrkdwn import LONGEST_SECTION, mrkdwn, sections, shown_as_it_is, to_markdown


@pytest.mark.parametrize(
    ("markdown", "shown"),
    [
        ("**bold** and *em* and ~~gone~~", "*bold* and _em_ and ~gone~"),
        ("# A `b` *c*", "*A `b` _c_*"),
        ("[pull request #3](https://x.org/a?b=1&c=2)", "<https://x.org/a?b=1&amp;c=2|pull request #3>"),
        ("[a|b>](https://x.org)", "<https://x.org|a/b&gt;>"),
        ("![a cat](https://x.org/cat.png)", "<https://x.org/cat.png|a cat>"),
        ("[bad](javascript:alert)", "[bad](javascript:alert)"),
        (
            "- [x] done\n- [ ] **open**\n- plain\n  1. one\n  2. two",
            "☑ done\n☐ *open*\n• plain\n    1. one\n    2. two",
        ),
        ("```diff\n- a < b & c\n```", "```\n- a &lt; b &amp; c\n```"),
        ("> said\n> twice", "> said\n> twice"),
        ("`a < b`", "`a &lt; b`"),
        ("``a ` b``", "`a ' b`"),
        ("a  \nb\nc", "a\nb\nc"),
        ("<!channel> <@U1> &lt;!here> <b>x</b>", "&lt;!channel&gt; &lt;@U1&gt; &lt;!here&gt; &lt;b&gt;x&lt;/b&gt;"),
        ("", ""),
    ],
)
def test_markdown_becomes_slacks_markup(markdown: str, shown: str) -> None:
    assert mrkdwn(markdown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "<!channel>", "<@U0ALICE>", "&lt;!everyone&gt;", "[x](<!channel>)", "`<!here>`", "```\n<!here>\n```", "<!--<!here>-->",
        "[<!here>](https://x.org)", "[x](https://x.org|<!here>)", "![<!here>](https://x.org)", "&#60;!here&#62;", "\\<!here\\>",
        "<https://x.org|<!here>>", "# <!here>", "> <!here>", "- <!here>", "<!subteam^S1>", "||<!here>||", "<div><!here></div>",
    ],
)  # fmt: skip
def test_nothing_that_is_said_pings_anybody(text: str) -> None:
    shown = mrkdwn(text)
    assert "<!" not in shown
    assert "<@" not in shown


@pytest.mark.parametrize("unit", ["word ", "x", "<&>", "line\n", "para\n\n", "[link](https://x.org/a) "])
@pytest.mark.parametrize("around", ["{}", "```\n{}\n```", "- {}"])
def test_every_section_fits(unit: str, around: str) -> None:
    for part in sections(around.format(unit * 3000)):
        assert 0 < len(part) <= LONGEST_SECTION
        assert part.count("```") % 2 == 0


def test_the_blocks_of_long_code_hold_its_very_lines() -> None:
    code = "".join(f"-{n} <a> & b \n\n\n+\t{n} `` \n" for n in range(400)) + "-- \nonhand"
    parts = sections(f"~~~~\n{code}\n~~~~")
    assert len(parts) > 2
    joined = "\n".join(part.removeprefix("```\n").removesuffix("\n```") for part in parts)
    assert joined.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") == code
    assert shown_as_it_is(code)
    assert not any(map(shown_as_it_is, (code + "```", "x" * LONGEST_SECTION, "<" * 1000)))


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("a &lt;b&gt; &amp;amp; c", "a <b> &amp; c"),
        ("<https://x.org>", "https://x.org"),
        ("<https://x.org|here>", "[here](https://x.org)"),
        ("<mailto:a@b.c|a@b.c>", "[a@b.c](mailto:a@b.c)"),
        ("<@U1> and <@U2|bob>", "@U1  and  @U2"),
        ("<#C1|dev> <!here> <!subteam^S1|@team> <!date^1^{date}|today>", "#dev @here @team today"),
        ("before ```a\nb``` after", "before \n```\na\nb\n```\n after"),
        ("&gt;&gt;&gt; all\nof it", "> >>> all\n> of it"),
    ],
)
def test_what_people_wrote_becomes_markdown(text: str, markdown: str) -> None:
    assert to_markdown(text).strip() == markdown
