"""Texts for the model that are longer than a sentence, as Markdown files. Read when a run begins, not at import."""

from importlib.resources import files


def prompt(name: str) -> str:
    """Return the text of `NAME.md`. Raises FileNotFoundError."""
    return files(__name__).joinpath(f"{name}.md").read_text("utf-8").strip()
