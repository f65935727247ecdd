"""The providers, one folder each; see README.md."""
