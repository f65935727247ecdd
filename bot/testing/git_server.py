"""Real git hosting for tests and the demo: smart HTTP by `git http-backend`, with accounts that are just tokens.

async with GitServer(folder, {"s3cret"}) as server:
    await server.create("octo/hello", {"README.md": "Hello"})
    # clone f"{server.url}/octo/hello.git", any user name, the token as the password
    print(await server.branches("octo/hello"))
"""

import asyncio
import base64
import io
import os
import re
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bot.testing.serving import Serving, answer, read_body

Files = Mapping[str, str | None]
"""Texts by path; None deletes the file."""

_PATH = re.compile(r"/((?:[\w.-]+/){1,9}[\w.-]+)\.git(/[\w./-]*)")
_NO_CONFIG = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_TERMINAL_PROMPT": "0"}


class Hosting:
    """Bare repositories below a folder and the ASGI app that serves them.

    With `tokens` None anybody may read and write. Every method blocks; call it in a thread.
    """

    def __init__(self, folder: Path, tokens: set[str] | None) -> None:
        self.folder, self.tokens = folder, tokens
        self.requests: list[tuple[str, str]] = []
        """Method and path of every request so far."""
        self.narrowed: dict[str, set[str]] = {}
        """Tokens beside `tokens` that are good for some repositories alone."""
        self.moved: dict[str, str] = {}
        """New names of repositories by their old ones, from which readers and writers are sent on (301)."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one ASGI request."""
        self.requests.append((scope["method"], scope["path"]))
        headers = {name.decode().lower(): value.decode("latin-1") for name, value in scope["headers"]}
        body = await read_body(receive)
        found = _PATH.fullmatch(scope["path"])
        if not self._allowed(headers.get("authorization", ""), found[1] if found else ""):
            await answer(send, 401, b"authentication is needed", {"www-authenticate": 'Basic realm="git"'})
        elif found and (new := self.moved.get(found[1])):
            query = scope["query_string"].decode()
            await answer(send, 301, b"", {"location": f"/{new}.git{found[2]}?{query}".rstrip("?")})
        elif found is None or ".." in scope["path"] or not self.path(found[1]).is_dir():
            await answer(send, 404, b"no such repository")
        else:
            status, named, content = await asyncio.to_thread(self._backend, scope, headers, body)
            await answer(send, status, content, named)

    def path(self, name: str) -> Path:
        """Where the bare repository of this name is."""
        return self.folder / f"{name}.git"

    def create(self, name: str, files: Files, branch: str = "main") -> None:
        """Make a repository with one commit; without files it has none."""
        path = self.path(name)
        path.mkdir(parents=True)
        self.git(name, "init", "--quiet", "--bare", f"--initial-branch={branch}", ".")
        self.git(name, "config", "http.receivepack", "true")
        if files:
            self.commit(name, files, "Begin", branch)

    def commit(
        self, name: str, files: Files, message: str, branch: str = "main", author: str = "Alice <alice@example.com>"
    ) -> str:
        """Add a commit to a branch (made from the default branch when new); return its id."""
        start = next((b for b in (branch, self.head(name)) if b in self.branches(name)), None)
        lines = [f"commit refs/heads/{branch}\ncommitter {author} now\n".encode(), _data(message)]
        lines += [f"from refs/heads/{start}^0\n".encode()] if start else []
        for path, text in files.items():
            if text is None:
                lines.append(f"D {path}\n".encode())
            else:
                mode = "100755" if text.startswith("#!") else "100644"
                lines += [f"M {mode} inline {path}\n".encode(), _data(text)]
        self.git(name, "fast-import", "--quiet", "--date-format=now", stdin=b"".join(lines) + b"done\n")
        return self.branches(name)[branch]

    def knows(self, name: str, commit: str) -> bool:
        """Whether a commit is there."""
        try:
            return bool(self.git(name, "cat-file", "-t", f"{commit}^{{commit}}"))
        except subprocess.CalledProcessError:
            return False

    def head(self, name: str) -> str:
        """The name of the default branch."""
        return self.git(name, "symbolic-ref", "--short", "HEAD").decode().strip()

    def branches(self, name: str) -> dict[str, str]:
        """Commit ids by branch."""
        out = self.git(name, "for-each-ref", "--format=%(refname:lstrip=2) %(objectname)", "refs/heads")
        return dict(row.rsplit(" ", 1) for row in out.decode().splitlines())

    def files(self, name: str, branch: str) -> dict[str, str]:
        """Every file's text by path. Raises KeyError for a branch that is not there."""
        commit = self.branches(name)[branch]
        with tarfile.open(fileobj=io.BytesIO(self.git(name, "archive", "--format=tar", commit))) as tar:
            members = ((member.name, tar.extractfile(member)) for member in tar if member.isfile())
            return {path: file.read().decode(errors="replace") for path, file in members if file}

    def messages(self, name: str, branch: str) -> list[str]:
        """The commit messages of a branch, newest first."""
        return self.git(name, "log", "-z", "--format=%B", self.branches(name)[branch]).decode().strip("\0").split("\0")

    def show_pull(self, name: str, number: int, fork: str, branch: str) -> None:
        """Let the head of a pull request from a fork be read as `refs/pull/<number>/head`, as GitHub does."""
        if self.path(fork).is_dir() and branch in self.branches(fork):
            wanted = f"+refs/heads/{branch}:refs/pull/{number}/head"
            self.git(name, "fetch", "--quiet", str(self.path(fork)), wanted)

    def fork(self, name: str, fork: str) -> None:
        """Make a repository that begins with everything that another one has."""
        self.create(fork, {}, self.head(name))
        self.git(fork, "fetch", "--quiet", str(self.path(name)), "+refs/heads/*:refs/heads/*")

    def rename(self, old: str, new: str) -> None:
        """Keep a repository under another name; who asks for the old one is sent on."""
        self.path(new).parent.mkdir(parents=True, exist_ok=True)
        self.path(old).rename(self.path(new))
        self.moved[old] = new
        for places in self.narrowed.values():
            places.update({new} if old in places else ())

    def hook(self, name: str, event: str, script: str) -> None:
        """Run a shell script as a hook, such as `pre-receive`: what it prints, git shows after `remote:`."""
        path = self.path(name) / "hooks" / event
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def git(self, name: str, *arguments: str, stdin: bytes = b"") -> bytes:
        """Run git in a repository and return what it prints. Raises CalledProcessError."""
        command = ["git", "-c", "safe.directory=*", *arguments]
        environment = {**os.environ, **_NO_CONFIG}
        return subprocess.run(
            command, cwd=self.path(name), env=environment, input=stdin, capture_output=True, check=True, timeout=60
        ).stdout

    def _allowed(self, authorization: str, name: str) -> bool:
        if self.tokens is None:
            return True
        kind, _, value = authorization.partition(" ")
        if kind.lower() == "basic":
            try:
                value = base64.b64decode(value).decode().partition(":")[2]
            except ValueError:
                return False
        return value in self.tokens or name in self.narrowed.get(value, ())

    def _backend(self, scope: Any, headers: Mapping[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Run git's CGI program (git-http-backend(1)) on a request."""
        environment = {
            **_NO_CONFIG,
            "PATH": os.environ.get("PATH", os.defpath),
            "GIT_PROJECT_ROOT": str(self.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "REQUEST_METHOD": scope["method"],
            "PATH_INFO": scope["path"],
            "QUERY_STRING": scope["query_string"].decode(),
            "CONTENT_TYPE": headers.get("content-type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": headers.get("content-encoding", ""),
            "GIT_PROTOCOL": headers.get("git-protocol", ""),
            "REMOTE_USER": "git",
            "REMOTE_ADDR": "127.0.0.1",
        }
        command = ["git", "http-backend"]
        done = subprocess.run(command, env=environment, input=body, capture_output=True, check=False, timeout=300)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        named = dict(row.split(": ", 1) for row in head.decode("latin-1").split("\r\n") if ": " in row)
        status = named.pop("Status", "200 OK" if head else "500 nothing")
        return int(status.split()[0]), named, content


class GitServer:
    """A `Hosting` on a loopback port while entered, with its methods as coroutines."""

    def __init__(self, folder: Path, tokens: set[str] | None = None) -> None:
        self.hosting = Hosting(folder, tokens)
        self._serving = Serving(self.hosting)
        self.url = self._serving.url
        """Repositories are at `{url}/owner/repo.git`."""

    async def __aenter__(self) -> Self:
        await self._serving.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._serving.__aexit__(kind, error, traceback)

    @property
    def requests(self) -> list[tuple[str, str]]:
        """Method and path of every request so far."""
        return self.hosting.requests

    async def create(self, name: str, files: Files, branch: str = "main") -> None:
        """Make a repository with one commit; without files it has none."""
        await asyncio.to_thread(self.hosting.create, name, files, branch)

    async def commit(
        self, name: str, files: Files, message: str, branch: str = "main", author: str = "Alice <alice@example.com>"
    ) -> str:
        """Add a commit to a branch (made from the default branch when new); return its id."""
        return await asyncio.to_thread(self.hosting.commit, name, files, message, branch, author)

    async def branches(self, name: str) -> dict[str, str]:
        """Commit ids by branch."""
        return await asyncio.to_thread(self.hosting.branches, name)

    async def files(self, name: str, branch: str) -> dict[str, str]:
        """Every file's text by path. Raises KeyError for a branch that is not there."""
        return await asyncio.to_thread(self.hosting.files, name, branch)

    async def read(self, name: str, branch: str, path: str) -> str:
        """One file's text. Raises KeyError."""
        return (await self.files(name, branch))[path]

    async def messages(self, name: str, branch: str) -> list[str]:
        """The commit messages of a branch, newest first."""
        return await asyncio.to_thread(self.hosting.messages, name, branch)


def _data(text: str) -> bytes:
    raw = text.encode()
    return b"data %d\n%s\n" % (len(raw), raw)
