"""What was released stays: a step that some database has taken already would not be taken again there."""

from hashlib import sha256
from pathlib import Path

VERSIONS = Path(__file__).parents[2] / "bot/store/migrations/versions"

DIGESTS = {
    "0001_the_first_tables.py": "7fd79319e840b7b5f975939067babf5e5192299ff3397fcb0f14a5e954f7c7a2",
    "0002_sweeps_and_places.py": "40f5a36ba4a6e5788cc13995330f586229cbae9cd014a48428dc62cdd73d0f12",
    "0003_only_admitted_in_two_indexes.py": "84c3930c4c1500d92c980b277a6917f0d6aaece24d2ab2481e538f062aa80cb3",
    "0004_no_index_by_time.py": "b77434958b3b86c57a45029cab439284037f64b602d00586f4ff8d8f51f691b9",
}
"""Of each step, SHA-256. The newest one comes in with the next one, or as soon as somebody may have taken it."""


def test_no_step_is_changed_once_another_one_follows() -> None:
    steps = sorted(VERSIONS.glob("[0-9]*.py"))
    found = {step.name: sha256(step.read_bytes()).hexdigest() for step in steps}
    newest = steps[-1].name
    pinned = DIGESTS | {newest: DIGESTS.get(newest, found[newest])}
    assert found == pinned, "leave a step as it is and write another one; note the digest of the one before it here"
