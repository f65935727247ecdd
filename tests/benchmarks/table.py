"""How every benchmark prints what it saw: rows of one form, `what | seen | limit or peer | ratio | aim`."""


def row(what: str, seen: str, beside: str = "", ratio: float | None = None, aim: str = "") -> None:
    """Print one row. `seen` and `beside` carry their units; `ratio` is the one divided by the other, from the same run."""
    shown = "" if ratio is None else f"{ratio:.3g}"
    print(f"{what:<58} | {seen:<24} | {beside:<34} | {shown:>7} | {aim}", flush=True)


def milliseconds(seconds: float) -> str:
    """A time as the rows write it."""
    return f"{seconds * 1000:.3g} ms"
