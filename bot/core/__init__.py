"""The foundation: words, values and ports. Standard library and msgspec only; no I/O, no clock, no environment."""
