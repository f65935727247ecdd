"""Names of repositories in what people write, and what only looks like one."""

import pytest

from bot.core.repositories import addresses, names


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("please fix acme/shop", "acme/shop"),
        ("in acme/shop.", "acme/shop"),
        ("(acme/web-shop), please", "acme/web-shop"),
        ("`acme/shop`", "acme/shop"),
        ("acme/shop.git", "acme/shop"),
        ("acme/shop: the login", "acme/shop"),
        ("*acme/shop.js_runtime*", "acme/shop.js_runtime"),
        ("Acme-Inc/Shop_2", "Acme-Inc/Shop_2"),
        ("acme/shop\nand more", "acme/shop"),
    ],
)
def test_owner_and_name_are_read(text: str, name: str) -> None:
    assert list(names(text)) == [name]


@pytest.mark.parametrize(
    "text",
    [
        "on 12/25", "due 12/25/2026", "from 1.0/2.0", "v1.2/v1.3", "path/to/file.txt",
        "src/main", "tests/test_login.py", "README/x.md",
        "and/or", "he/she", "TCP/IP", "CI/CD", "24/7", "km/h", "w/o", "input/output", "true/false", "application/json",
        "./acme/shop", "/acme/shop", "~/acme/shop", "../acme/shop", "@acme/shop", "a@acme/shop", "C:\\acme/shop",
        "acme/shop/pulls", "acme//shop",
        "https://elsewhere.example/acme/shop", "feature/login", "origin/main", "refs/heads",
        "-acme/shop", "acme-/shop", "acme/", "/shop", "1/2",
    ],
)  # fmt: skip
def test_what_only_looks_like_one_is_none(text: str) -> None:
    assert list(names(text)) == []


def test_each_name_is_there_once_and_only_the_first_few() -> None:
    assert list(names("acme/shop acme/shop " + " ".join(f"acme/shop{n}x" for n in range(100))))[:2] == [
        "acme/shop",
        "acme/shop0x",
    ]
    assert len(list(names(" ".join(f"acme/shop{n}x" for n in range(100))))) == 8


def test_addresses_are_read_without_the_marks_around_them() -> None:
    text = (
        "See <https://github.com/acme/shop/issues/1>, [x](https://github.com/acme/web) and git@github.com:acme/app.git."
    )
    assert list(addresses(text)) == [
        "https://github.com/acme/shop/issues/1", "https://github.com/acme/web", "git@github.com:acme/app.git",
    ]  # fmt: skip
