"""What we send, against Linear's published schema."""

import os
from pathlib import Path

import pytest
from graphql import build_schema, validate

from tests.integrations.linear.reduce_schema import HERE, ours, reduced

WHOLE = os.environ.get("ONHAND_TEST_LINEAR_SCHEMA", "")


@pytest.mark.parametrize("document", ours(), ids=lambda document: document.definitions[0].name.value)
def test_a_document_is_valid(document) -> None:
    assert validate(build_schema(HERE.read_text()), document) == []


@pytest.mark.skipif(not WHOLE, reason="set ONHAND_TEST_LINEAR_SCHEMA to Linear's schema.graphql")
def test_our_copy_is_what_we_use_of_the_whole_schema() -> None:
    text = Path(WHOLE).read_text()
    assert reduced(text) == HERE.read_text()
    assert [validate(build_schema(text), document) for document in ours()] == [[]] * len(ours())
