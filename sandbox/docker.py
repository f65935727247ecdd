"""Boxes as containers of a Docker engine on this machine. The action server is the container's first process.

It is mounted from here, so that image and worker cannot drift; the socket lies in a folder that both see. The engine
must therefore see the worker's disk under the same paths. The blocking SDK is used in threads of its own.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import docker
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.types import LogConfig

from bot.core.errors import ConfigError, SandboxError, SandboxGone
from bot.core.ports import BoxSpec
from sandbox import layers, overlay
from sandbox.box import Box
from sandbox.connection import Peer
from sandbox.home import BOX_USER, BoxFolder, box_of, install_program, labels_of_boxes, new_box, own_python
from sandbox.startup import arguments, environment, words

T = TypeVar("T")

_BOX, _HOME = "onhand.box", "onhand.home"
_USER = f"{BOX_USER}:{BOX_USER}"
_START_SECONDS = 30.0
_ANSWER_SECONDS = 15
_WORK_SECONDS = 60
_WORK = ("start", "remove_container")
"""What an engine may be busy with for long, and making a container; to all else it answers at once unless it hangs."""

_THREADS = 32
_PAUSE_SECONDS = 1.0  # an engine may answer "already paused" for a while after an unpause


class DockerSandboxes:
    """The life of containers: no network unless it is open, no capabilities, no new privileges, bounds on everything.

    The disk is the exception: engines bound it only on some file systems, so the action server watches it.
    """

    name: ClassVar[str] = "docker"

    def __init__(self, spec: BoxSpec, home: Path, options: Mapping[str, str]) -> None:
        self._spec, self._home, self._engine = spec, Path(home).absolute(), _Engine(options.get("url", ""))

    async def check(self) -> str:
        try:
            version = await self._engine.call(lambda client: client.version())
            await self._engine.call(lambda client: client.images.get(self._spec.image))
        except ImageNotFound:
            raise ConfigError(
                f"the engine has no image {self._spec.image!r}; make it with deploy/sandbox-image.sh, "
                "build deploy/sandbox.Dockerfile, or set ONHAND_SANDBOX__IMAGE"
            ) from None
        except DockerException as error:
            raise ConfigError(
                f"no Docker engine answers ({error}); start one (on Debian and Ubuntu deploy/engine.sh installs it) "
                "and let this user reach it"
            ) from None
        way = await asyncio.to_thread(layers.way, self._home)
        return f"Docker {version['Version']}, image {self._spec.image}; network {self._spec.network}; {way}"

    async def create(self, labels: Mapping[str, str]) -> Box:
        folder = await asyncio.to_thread(new_box, self._home, {**self._spec.labels, **labels})
        container = _Container(self._engine, folder)
        try:
            await self._engine.ask(partial(self._make, folder), _WORK_SECONDS)
            return await self._begin(container)
        except BaseException:
            await container.remove()
            raise

    async def attach(self, state: str) -> Box:
        """Connect to a box. One that does not answer any more is started again: its files are still there."""
        folder = box_of(self._home, state)
        box = _box(self._engine, folder)
        status = await _Container(self._engine, folder).status()
        if status in ("created", "exited"):
            return await self._begin(_Container(self._engine, folder))
        if status == "running":
            try:
                await box.connected()
            except SandboxGone:
                with contextlib.suppress(SandboxError):  # it may be ending by itself at this moment
                    await _Container(self._engine, folder).ask("kill")
                return await self._begin(_Container(self._engine, folder))
        return box

    async def remove(self, state: str) -> None:
        await _Container(self._engine, box_of(self._home, state)).remove()

    async def list(self) -> Sequence[tuple[str, Mapping[str, str]]]:
        """Return the boxes with a container or a folder: whoever made or removed one may have been killed halfway."""
        mine = {"label": [f"{_BOX}", f"{_HOME}={self._home}"]}
        found = await asyncio.to_thread(labels_of_boxes, self._home)
        for container in await self._engine.ask(lambda client: client.api.containers(all=True, filters=mine)):
            labels = dict(container["Labels"])
            state = BoxFolder(self._home, labels.pop(_BOX)).state
            found[state] = {name: text for name, text in labels.items() if not name.startswith("onhand.")}
        return list(found.items())

    async def close(self) -> None:
        self._engine.close()

    def _make(self, folder: BoxFolder, client: docker.DockerClient) -> None:
        """Create the container, with the SDK's plain calls: its models ask the engine three times as often."""
        spec = self._spec
        client.api.create_container(
            spec.image,
            arguments("/run/program", [*words(spec, "/run/onhand", "/workspace"), "beside=/home/box /run/onhand"]),
            name=_name(folder),
            entrypoint=["python3"],
            user=_USER,
            working_dir="/workspace",
            hostname="onhand",
            environment=environment("/home/box", "/workspace"),
            labels={**folder.facts()["labels"], _BOX: folder.id, _HOME: str(self._home)},
            volumes=["/workspace", "/home/box"],
            host_config=self._limits(folder, client),
        )

    def _limits(self, folder: BoxFolder, client: docker.DockerClient) -> Any:
        """Return what the container sees of this machine and how much of it it may take."""
        spec, program = self._spec, install_program(self._home, own_python())
        return client.api.create_host_config(
            binds=[f"{folder.path / 'run'}:/run/onhand:rw", f"{program}:/run/program:ro"],
            network_mode="bridge" if spec.network == "open" else "none",
            nano_cpus=int(spec.cpus * 1e9),
            mem_limit=f"{spec.memory_mb}m",
            memswap_limit=f"{spec.memory_mb}m",
            pids_limit=spec.pids,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            read_only=True,
            tmpfs={"/tmp": f"rw,exec,nosuid,nodev,size={spec.memory_mb // 2}m,mode=1777"},  # noqa: S108
            log_config=LogConfig(type="none"),
        )

    async def _begin(self, container: "_Container") -> Box:
        """Start the container and wait until its server listens. Raises SandboxError with what it said."""
        folder = container.folder
        await asyncio.to_thread(folder.socket.unlink, missing_ok=True)
        await asyncio.to_thread(folder.hand_over_key)
        await container.ask("start")
        deadline = time.monotonic() + _START_SECONDS
        while not folder.socket.exists():
            if time.monotonic() > deadline or await container.status() not in ("running", "created"):
                raise SandboxError("the container did not start its server: is python3 in the image?")
            for _ in range(50):
                if folder.socket.exists():
                    break
                await asyncio.sleep(0.002)
        box = _box(self._engine, folder)
        await box.connected()
        return box


class _Container:
    """The container of one box. Implements Engine."""

    def __init__(self, engine: "_Engine", folder: BoxFolder) -> None:
        self._engine, self.folder = engine, folder

    async def ask(self, verb: str, **arguments: Any) -> Any:
        """Call a function of the SDK on the container. Raises SandboxGone, SandboxError."""
        seconds = _WORK_SECONDS if verb in _WORK else _ANSWER_SECONDS
        return await self._engine.ask(
            lambda client: getattr(client.api, verb)(_name(self.folder), **arguments), seconds
        )

    async def status(self) -> str:
        """Return the engine's word for its state, such as `running`, `paused` or `exited`."""
        return str((await self.ask("inspect_container"))["State"]["Status"])

    @property
    def lays_over(self) -> bool:
        return not overlay.why_not(self.folder.path.parent)

    async def lay_over(self, peer: Peer, tree: Path, own: Mapping[str, bytes]) -> bool:
        return await asyncio.to_thread(layers.lay, self.folder, peer, tree, own)

    async def lay_again(self, peer: Peer) -> bool:
        return await asyncio.to_thread(layers.lay_again, self.folder, peer)

    async def pause(self) -> None:
        deadline = time.monotonic() + _PAUSE_SECONDS
        while True:
            try:
                await self.ask("pause")
            except SandboxError as error:
                if "already paused" not in str(error):
                    raise
                if time.monotonic() > deadline:
                    return  # it says so for good: it is
                await asyncio.sleep(0.02)
            else:
                return

    async def resume(self) -> None:
        try:
            await self.ask("unpause")
        except SandboxError as error:
            if "not paused" not in str(error):
                raise

    async def remove(self) -> None:
        with contextlib.suppress(SandboxGone):
            try:
                await self.ask("remove_container", force=True, v=True)
            except SandboxError as error:
                if "in progress" not in str(error):
                    raise
        await asyncio.to_thread(self.folder.delete)


class _Engine:
    """The engine through the SDK, in threads that nothing else waits for: an engine that hangs holds up its own calls alone."""

    def __init__(self, url: str) -> None:
        self._url, self._clients = url, dict[int, docker.DockerClient]()
        self._threads = ThreadPoolExecutor(_THREADS, "docker")

    async def ask(self, call: Callable[[docker.DockerClient], T], seconds: int = _ANSWER_SECONDS) -> T:
        """Call the SDK. Raises SandboxGone for a container that is not there, SandboxError for everything else."""
        try:
            return await self.call(call, seconds)
        except ImageNotFound as error:
            raise SandboxError(f"the engine has no such image: {error.explanation}") from None
        except NotFound as error:
            raise SandboxGone(f"the engine has no such container: {error.explanation}") from None
        except APIError as error:
            raise SandboxError(f"the engine refused: {error.explanation}") from None
        except (DockerException, OSError) as error:
            raise SandboxError(f"the engine does not answer: {error}") from None

    async def call(self, call: Callable[[docker.DockerClient], T], seconds: int = _ANSWER_SECONDS) -> T:
        """Call the SDK, which waits for so long for an answer. Raises what it raises."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: call(self._client(seconds)))

    def close(self) -> None:
        """Let go of the connections, and wait for no call that hangs."""
        self._threads.shutdown(wait=False)
        for client in self._clients.values():
            client.close()

    def _client(self, seconds: int) -> docker.DockerClient:
        """Return the client that waits for so long. A new one asks for the engine's version, which is no work."""
        if seconds not in self._clients:
            how: dict[str, Any] = {"timeout": seconds}
            if seconds != _ANSWER_SECONDS:
                how["version"] = self._client(_ANSWER_SECONDS).api.api_version
            made = docker.DockerClient(self._url, **how) if self._url else docker.from_env(**how)
            self._clients.setdefault(seconds, made)
        return self._clients[seconds]


def _box(engine: _Engine, folder: BoxFolder) -> Box:
    return Box(folder.state, folder.socket, folder.key, _Container(engine, folder))


def _name(folder: BoxFolder) -> str:
    return f"onhand-{folder.id}"
