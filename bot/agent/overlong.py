"""How servers of models say that a prompt is longer than the model takes: in words of their own, which LiteLLM knows in part."""

import re

_SAID = re.compile(
    r"""(?xi)
    context_length_exceeded | exceed_context_size
    | context[ ](?:length|window|size|limit) | (?:prompt|model|input)[ ]length
    | (?:prompt|input)[ ]is[ ]too[ ]long | reduce[ ]the[ ]length
    | \btokens?\b.{0,40}(?:exceed|too[ ]large) | less[ ]than[ ]\d+[ ]tokens
    """
)
"""OpenAI's code and llama.cpp's; then vLLM, OpenRouter, xAI, Ollama; Anthropic, Bedrock, Groq; Mistral, Copilot, Together."""


def says_too_long(error: str) -> bool:
    """Whether a server that refused a request as invalid means its length."""
    return _SAID.search(error) is not None
