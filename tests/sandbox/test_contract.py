"""Every backend passes the one contract."""

import pytest

from bot.core.ports import Sandboxes
from bot.testing.sandboxes import CHECKS, ISOLATION, Check, name_of


@pytest.mark.parametrize("check", [*CHECKS, *ISOLATION], ids=name_of)
async def test_a_box_in_namespaces_holds_that(check: Check, local: Sandboxes) -> None:
    await check(local)


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
async def test_a_plain_process_holds_that(check: Check, process: Sandboxes) -> None:
    await check(process)


@pytest.mark.docker
@pytest.mark.parametrize("check", [*CHECKS, *ISOLATION], ids=name_of)
async def test_a_container_holds_that(check: Check, docker: Sandboxes) -> None:
    await check(docker)
