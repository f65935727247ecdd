"""The tools on a box with files in memory, and on the machine's own shell where a folder is listed."""

import asyncio
import time

import jsonschema
import pytest

from bot.core.errors import SandboxError, SandboxGone, UserError
from bot.core.events import FileContent, FileEdited
from bot.core.ports import CommandResult


@pytest.fixture
def box(kit):
    return kit.Box(files={"a.py": b"one\ntwo\nthree\n"})


@pytest.fixture
def edit(kit, box):
    async def edit(command, path="a.py", **arguments):
        tool = kit.tools["edit"]
        return await tool.execute(tool.action({"command": command, "path": path, **arguments}), box)

    return edit


async def test_a_file_is_shown_with_line_numbers(edit):
    seen = await edit("view")
    assert isinstance(seen, FileContent)
    assert seen.content == "     1\tone\n     2\ttwo\n     3\tthree"


async def test_a_part_of_a_file_is_shown(edit):
    assert (await edit("view", view_range=[2, -1])).content.startswith("     2\ttwo")


@pytest.mark.parametrize("lines", [[0, 2], [9, 10], [3, 1], [-5, -1]])
async def test_a_range_outside_the_file_is_refused_with_its_length(edit, lines):
    with pytest.raises(UserError, match="has 3 lines"):
        await edit("view", view_range=lines)


async def test_a_long_file_says_what_was_cut(edit, box):
    box.files["long"] = b"".join(b"%d\n" % n for n in range(5_000))
    assert "[lines 1 to 2000 of 5000; see more with view_range]" in (await edit("view", "long")).content


async def test_one_endless_line_does_not_flood_the_prompt(edit, box):
    box.files["min.js"] = b"x" * 3_000_000
    assert len((await edit("view", "min.js")).content) < 70_000


@pytest.mark.parametrize(("data", "word"), [(b"\x89PNG\0\0", "binary"), (b"gr\xfc\xdfe", "encoding")])
async def test_files_that_are_no_text_are_not_damaged(edit, box, data, word):
    box.files["odd"] = data
    with pytest.raises(UserError) as refused:
        await edit("str_replace", "odd", old_str="a", new_str="b")
    assert refused.value.word == word
    assert box.files["odd"] == data


async def test_the_one_match_is_replaced_and_its_surroundings_shown(edit, box):
    seen = await edit("str_replace", old_str="two", new_str="2\n2b")
    assert isinstance(seen, FileEdited)
    assert box.files["a.py"] == b"one\n2\n2b\nthree\n"
    assert "     2\t2\n     3\t2b" in seen.content


async def test_several_matches_are_counted_and_placed(edit, box):
    box.files["a.py"] = b"x\ny\nx\n"
    with pytest.raises(UserError, match=r"2 times in a.py \(lines 1, 3\)"):
        await edit("str_replace", old_str="x", new_str="z")


async def test_of_very_many_matches_the_first_are_placed(edit, box):
    box.files["a.py"] = b"xx\n" * 1_000
    with pytest.raises(UserError, match=r"1000 times in a.py \(lines 1, 2, .*, 19, 20\)"):
        await edit("str_replace", old_str="xx", new_str="z")


async def test_a_very_long_text_is_found_without_being_made_a_pattern(edit, box):
    text = "".join(f"def f{n}(a, b):\n    return [a + {n}, (b * {n})]\n" for n in range(25_000))
    box.files["a.py"] = f"{text}end\n".encode()
    started = time.process_time()
    await edit("str_replace", old_str=text, new_str="1\n")
    assert (box.files["a.py"], time.process_time() - started < 1.0) == (b"1\nend\n", True)


async def test_no_match_says_what_to_do(edit):
    with pytest.raises(UserError, match="is not in"):
        await edit("str_replace", old_str="four", new_str="4")


async def test_windows_line_ends_stay(edit, box):
    box.files["a.py"] = b"one\r\ntwo\r\n"
    await edit("str_replace", old_str="one\ntwo", new_str="1\n2")
    await edit("insert", insert_line=2, new_str="3")
    assert box.files["a.py"] == b"1\r\n2\r\n3\r\n"


@pytest.mark.parametrize(
    ("before", "line", "after"),
    [(b"a\nb\n", 0, b"new\na\nb\n"), (b"a\nb\n", 2, b"a\nb\nnew\n"), (b"a", 1, b"a\nnew\n"), (b"", 0, b"new\n")],
)
async def test_lines_are_inserted_after_a_line(edit, box, before, line, after):
    box.files["a.py"] = before
    await edit("insert", insert_line=line, new_str="new")
    assert box.files["a.py"] == after


async def test_an_insertion_beyond_the_end_is_refused(edit):
    with pytest.raises(UserError, match="has 3 lines"):
        await edit("insert", insert_line=4, new_str="x")


async def test_creating_says_whether_a_file_was_replaced(edit, box):
    assert "created" in (await edit("create", "new.py", file_text="x\n")).content
    assert "replaced" in (await edit("create", "new.py", file_text="y\n")).content
    assert box.files["new.py"] == b"y\n"


async def test_a_folder_is_listed_two_levels_deep(edit, box, tmp_path):
    for name in ("src/app/deep.py", "src/main.py", ".git/config", ".github/ci.yml", "it's here/x y"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    async def run(command, *, timeout=0, stdin=""):  # noqa: ASYNC109
        shell = await asyncio.create_subprocess_exec("bash", "-c", command, stdout=asyncio.subprocess.PIPE)
        out, _ = await shell.communicate()
        return CommandResult(out.decode(), shell.returncode, "/", 0)

    box.run = run
    listed = (await edit("view", str(tmp_path))).content.splitlines()[1:]
    assert listed == [".github/", ".github/ci.yml", "it's here/", "it's here/x y", "src/", "src/app/", "src/main.py"]


async def test_a_path_that_is_nothing_is_said_by_the_box(edit, box):
    async def run(command, **_):
        return CommandResult("", 1, "/", 0)

    box.run = run
    with pytest.raises(SandboxError, match="there is no file nowhere"):
        await edit("view", "nowhere")


async def test_a_box_that_is_gone_is_not_taken_for_a_missing_file(edit, box):
    async def gone(path, **_):
        raise SandboxGone("no such box")

    box.read = gone
    for command in ({"command": "view"}, {"command": "create", "file_text": "x"}):
        with pytest.raises(SandboxGone):
            await edit(**command)


def test_every_tools_parameters_are_a_plain_json_schema(kit):
    for tool in kit.tools.values():
        jsonschema.Draft202012Validator.check_schema(tool.parameters)
        assert tool.parameters["type"] == "object"
        assert "$ref" not in str(tool.parameters)
        assert "null" not in str(tool.parameters)


def test_the_schema_names_every_field(kit):
    assert set(kit.tools["finish"].parameters["properties"]) == {"summary", "title", "reject"}
    assert set(kit.tools["tasks"].parameters["properties"]["task_list"]["items"]["properties"]) == {"title", "status"}
