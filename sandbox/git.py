"""Running git in the worker: in bare mirrors only, without anybody's configuration or hooks.

A key reaches git through its environment alone. What a failure means to the platform is read out of what git says.
"""

import asyncio
import base64
import errno
import os
import re
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from bot.core.errors import OnhandError, ProviderError, ProviderWord
from bot.core.secret import Redactor, Secret

_OLD_MISTAKES = (
    *("zeroPaddedFilemode", "missingSpaceBeforeDate", "missingSpaceBeforeEmail", "missingNameBeforeEmail"),
    *("missingEmail", "badTimezone", "badDate", "badDateOverflow", "badFilemode", "multipleAuthors"),
)
"""That well-known repositories carry, harmless where nothing is checked out."""

CHECKS = "--strict=" + ",".join(f"{fault}=ignore" for fault in _OLD_MISTAKES)
"""Has git-index-pack(1) check objects as `transfer.fsckObjects` has a fetch do it, and that what they name is there."""

_CONFIG = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "core.askPass": "",
    "core.bigFileThreshold": "16m",
    "credential.helper": "",
    "protocol.allow": "never",
    "protocol.http.allow": "always",
    "protocol.https.allow": "always",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "safe.directory": "*",
    "submodule.recurse": "false",
    "fetch.recurseSubmodules": "false",
    "push.recurseSubmodules": "no",
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "60",
    "transfer.fsckObjects": "true",
    **{f"{verb}.fsck.{fault}": "ignore" for verb in ("fetch", "receive") for fault in _OLD_MISTAKES},
}
_PASSED_ON = (
    "PATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
)

_MEANINGS: tuple[tuple[str, ProviderWord], ...] = (
    (r"internal server error|fatal error in commit_refs", "unavailable"),  # GitHub's own trouble, said of each ref
    (r"authentication failed|could not read (username|password)|error: 401|invalid credentials", "unauthorized"),
    (r"error: 429|too many requests", "limited"),
    (r"\[rejected\]|non-fast-forward|fetch first|cannot lock ref|failed to update ref", "conflict"),
    (r"\[remote rejected\]|protected branch|hook declined|error: 403|access denied|permission .*denied", "forbidden"),
    (r"repository .*not found|error: 404|error: 410|does not exist", "missing"),
)


class GitError(OnhandError):
    """git ended with a status that is not 0. `said` is its standard error, masked."""

    def __init__(self, verb: str, status: int, said: str) -> None:
        super().__init__(f"git {verb} ended with {status}: {said}")
        self.said = said

    def for_provider(self) -> ProviderError:
        """Return what this means to a platform. What nobody can name is taken for a fault that passes."""
        low = self.said.lower()
        found = [word for pattern, word in _MEANINGS if re.search(pattern, low)]
        word: ProviderWord = found[0] if found else "unavailable"
        return ProviderError(word, " ".join(self.said.split())[-500:])


async def git(
    folder: Path,
    *arguments: str,
    key: tuple[str, str, Secret] | None = None,
    config: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    seconds: float = 120.0,
    most: int = 16 * 1024 * 1024,
) -> bytes:
    """Run git in a bare repository and return what it prints, at most `most` bytes.

    `key` is the address it is for, the user name there, and the token. Raises GitError, also when it takes longer than
    `seconds`; OSError (ENOSPC) where our own disk is full.
    """
    signed, redact = _signed_in(*key) if key is not None and key[2] else ({}, Redactor())
    settings = {**_CONFIG, **(config or {}), **signed}
    process = await asyncio.create_subprocess_exec(
        "git",
        *arguments,
        cwd=folder,
        env={**_environment(folder, settings), **(environment or {})},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(seconds):
            printed, said = await _both(process, stdin, most)
    except TimeoutError:
        raise GitError(arguments[0], -1, f"no end within {seconds:.0f} s") from None
    finally:
        if process.returncode is None:
            _kill(process.pid)
            await process.wait()
    if process.returncode:
        raise _failure(GitError(arguments[0], process.returncode, redact(said.decode(errors="replace")).strip()))
    return printed


def _signed_in(url: str, username: str, token: Secret) -> tuple[dict[str, str], Redactor]:
    """Return the settings by which git signs in where the address is, nowhere else, and what masks them in what it says."""
    header, at = base64.b64encode(f"{username}:{token.reveal()}".encode()).decode(), urlsplit(url)
    settings = {f"http.{at.scheme}://{at.netloc}/.extraHeader": f"Authorization: Basic {header}"}
    return settings, Redactor([token, Secret(header)])


def _failure(failed: GitError) -> GitError | OSError:
    """Return the error, as the system's where git says of our side that the disk is full: that says nothing of the platform."""
    ours = [line for line in failed.said.splitlines() if not line.startswith("remote:")]
    full = any(os.strerror(errno.ENOSPC) in line for line in ours)
    return OSError(errno.ENOSPC, str(failed)) if full else failed


async def _both(process: asyncio.subprocess.Process, stdin: bytes, most: int) -> tuple[bytes, bytes]:
    """Write the (small) input, read both outputs to their ends, and wait. More than `most` bytes end it."""

    async def read(stream: asyncio.StreamReader | None, room: int) -> bytes:
        parts: list[bytes] = []
        while stream is not None and (part := await stream.read(1 << 16)):
            room -= len(part)
            if room < 0:
                _kill(process.pid)
                raise GitError("output", -1, f"more than {most} bytes of output")
            parts.append(part)
        return b"".join(parts)

    if process.stdin is not None:
        process.stdin.write(stdin)
        process.stdin.close()
    outputs = await asyncio.gather(read(process.stdout, most), read(process.stderr, 1 << 20))
    await process.wait()
    return outputs[0], outputs[1]


def _kill(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _environment(folder: Path, settings: Mapping[str, str]) -> dict[str, str]:
    environment = {name: os.environ[name] for name in (*_PASSED_ON, *map(str.lower, _PASSED_ON)) if name in os.environ}
    environment |= {
        "HOME": str(folder),
        "LC_ALL": "C",
        "GIT_DIR": str(folder),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_COUNT": str(len(settings)),
    }
    for number, (name, value) in enumerate(settings.items()):
        environment |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    return environment


def lines(printed: bytes, end: bytes = b"\0") -> Sequence[str]:
    """Split what git printed with -z."""
    return [part.decode(errors="replace") for part in printed.split(end) if part]
