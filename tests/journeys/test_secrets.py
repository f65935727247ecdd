"""No key where it does not belong: canaries wherever a key can be configured, then a search everywhere else."""

import asyncio
import contextlib
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.journeys.steps import CANARIES, MEND_CALC, bash, finish

pytestmark = [pytest.mark.journey, pytest.mark.timeout(180)]

_HUNT = """\
hunt() {{
  printf '%s' "$1$2" | grep -rslaF -f - /workspace /home /tmp /run /etc /var 2>/dev/null
  for p in /proc/[0-9]*; do
    grep -slaF -f <(printf '%s' "$1$2") "$p/environ" "$p/cmdline"
  done
  env | grep -aF -f <(printf '%s' "$1$2")
  git config --list --show-origin 2>/dev/null | grep -aF -f <(printf '%s' "$1$2")
}}
found=$({hunts})
[ -z "$found" ] && echo NOTHING-FOUND || echo SOMETHING-FOUND"""


class Watch:
    """Looks at the arguments of every process of the machine, over and over."""

    def __init__(self, words: list[bytes]) -> None:
        self._words, self._stop = words, threading.Event()
        self.found: set[bytes] = set()
        self.looks = 0
        self._before_exec = Path("/proc/self/cmdline").read_bytes()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        seen: set[str] = set()
        while not self._stop.is_set():
            for pid in set(filter(str.isdigit, os.listdir("/proc"))) - seen:
                with contextlib.suppress(OSError):
                    line = Path(f"/proc/{pid}/cmdline").read_bytes()
                    self.found |= {line for word in self._words if word in line}
                    self.looks += 1
                    if line != self._before_exec:
                        seen.add(pid)
            time.sleep(0.001)


async def test_no_key_is_found_where_it_does_not_belong(place, service) -> None:
    hunts = "; ".join(f'hunt "{key[: len(key) // 2]}" "{key[len(key) // 2 :]}"' for key in CANARIES.values())
    place.script(bash(_HUNT.format(hunts=hunts)), bash(MEND_CALC), finish())
    with Watch([key.encode() for key in CANARIES.values()]) as watch:
        number = await place.issue()
        await place.ended(number)
    assert watch.looks > 20
    assert not watch.found, "in the arguments of a process"
    events = json.dumps(await place.events(number))
    assert "NOTHING-FOUND\\n" in events, "in the sandbox"
    assert len(place.pulls()) == 1
    redis_ = await asyncio.to_thread(_everything_in_redis, service.environment["ONHAND_REDIS_URL"])
    places = {"the events": events.encode(), "the logs": service.logs().encode(), "Redis": redis_}
    for name, content in places.items():
        assert content, name
        assert not [key for key in CANARIES.values() if key.encode() in content], name
    database = service.folder / "home" / "onhand.sqlite"
    if database.exists():
        raw = b"".join(path.read_bytes() for path in database.parent.glob("onhand.sqlite*"))
        assert not [key for key in CANARIES.values() if key.encode() in raw]
    mirrors = [p for p in (service.folder / "home" / "mirrors").rglob("config") if p.is_file()]
    assert mirrors
    assert not any(CANARIES["github"] in path.read_text() for path in mirrors)


def _everything_in_redis(url: str) -> bytes:
    with redis.Redis.from_url(url) as client:
        return b"\n".join(key + b" " + (client.dump(key) or b"") for key in client.scan_iter("*")) or b"empty"
