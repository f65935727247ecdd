"""Processes that a test looks at: one that has ended counts as gone, whether or not an init has buried it yet."""

import json
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

from bot.core.errors import SandboxGone
from sandbox.home import box_of


def living(process: psutil.Process) -> bool:
    """Whether it still runs."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def outliving(processes: Iterable[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Wait until all have ended, so long at most; return those that have not. Blocks."""
    deadline, left = time.monotonic() + seconds, list(processes)
    while (left := [process for process in left if living(process)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


def kill_box(boxes: Path, kind: str, state: str) -> None:
    """Kill all that runs in a box, from outside."""
    if kind == "docker":
        subprocess.run(["docker", "kill", f"onhand-{json.loads(state)['box']}"], check=False, capture_output=True)
        return
    try:
        psutil.Process(box_of(boxes, state).facts()["pid"]).kill()
    except (psutil.NoSuchProcess, KeyError, SandboxGone):
        return  # it has ended, or not begun
