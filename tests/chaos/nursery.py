"""A process that has imported the whole product and forks workers and web processes from itself.

Two hundred kills would otherwise cost two hundred imports of LiteLLM, three seconds each. What is forked is the ordinary
command in a process of its own, with an interpreter that is warm.

    python -m tests.chaos.nursery        reads `["LOG", "worker"]` lines, answers each with a pid
"""

import json
import logging
import os
import signal
import sys
from collections.abc import Sequence


def main() -> None:
    from bot import cli
    from bot.agent import model
    from bot.commands import service
    from bot.web import app
    from workers import lifecycle

    model.load()
    assert all((cli, service, app, lifecycle))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries the killed
    bound_to, kept = os.pipe()
    print("ready", flush=True)
    for line in iter(sys.stdin.readline, ""):
        log, *arguments = json.loads(line)
        if (pid := os.fork()) == 0:
            _be(log, arguments, bound_to, kept)
        print(pid, flush=True)


def _be(log: str, arguments: Sequence[str], bound_to: int, kept: int) -> None:
    """Become `onhand ARGUMENTS`, which ends when the nursery does. Never returns."""
    from bot import cli
    from bot.agent import model

    model.load.cache_clear()  # LiteLLM's thread has stayed with the nursery; a worker starts its own
    model._aside.cache_clear()
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number, source in enumerate((bound_to, out, out)):
        os.dup2(source, number)
    for number in (kept, bound_to, out):
        os.close(number)
    sys.argv = ["onhand", *arguments, "--bound"]
    code = 1
    try:
        cli.main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0
    except BaseException:
        logging.getLogger(__name__).exception("%s broke down", arguments)
    finally:
        logging.shutdown()
        os._exit(code)


if __name__ == "__main__":
    main()
