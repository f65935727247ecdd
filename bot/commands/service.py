"""`onhand up`, `serve` and `worker`: the processes of the service."""

import asyncio
import gc
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import click
import uvicorn
from uvicorn.loops.auto import auto_loop_factory

from bot import bootstrap, logs
from bot.config import Settings
from bot.core.errors import OnhandError, Unavailable
from bot.core.lasting import lasting
from bot.core.platform import endpoint
from bot.core.secret import Redactor
from bot.flows.listening import listening
from bot.redis_server import EmbeddedRedis

STOP_SECONDS = 15.0
_RESTART_PAUSE = 1.0
_LONGEST_RESTART_PAUSE = 30.0
_FIRST_START = 10.0
"""Seconds within which a process that ends by itself, at its first start, could not start at all."""
_STEADY = 60.0
"""Seconds after which a process that was started again counts as well: when it dies then, that is news."""


def quick_loop() -> Callable[[], asyncio.AbstractEventLoop]:
    """Return the maker of the web process's event loop: uvloop's where there is one. For workers it is none: it forks to start git.

    It looks names up on half of so many threads. By itself it has four, and two name servers that are silent would stop all else.
    """
    os.environ.setdefault("UV_THREADPOOL_SIZE", "64")
    return auto_loop_factory()


async def serve(settings: Settings, host: str | None, port: int | None) -> None:
    """Run the web process until it is told to stop."""
    with lasting():
        from bot.web.app import create
        from bot.web.protocol import BoundedProtocol, end_slow_requests

    redactor = Redactor()
    logs.set_up(settings.log_json, redactor)
    stop = _stop_signal()  # uvicorn raises a signal again when it has stopped; what is open is closed after that
    async with bootstrap.build(settings, redactor) as built, listening(built.services):
        with lasting():
            app = create(built)
        gc.set_threshold(50_000)  # a request leaves few cycles, but hundreds of objects while it waits for its commit
        config = uvicorn.Config(
            app,
            http=BoundedProtocol,
            host=host or settings.host,
            port=settings.port if port is None else port,
            log_config=None,
            access_log=False,
            proxy_headers=False,  # nobody asks for the client's address or scheme: links are made with the public URL
            timeout_graceful_shutdown=5,
            timeout_keep_alive=75,  # longer than a proxy in front keeps a connection, so that none is closed just as it is used
            server_header=False,
        )
        server = uvicorn.Server(config)
        beside = [asyncio.create_task(_end_when(stop, server)), asyncio.create_task(end_slow_requests(server))]
        try:
            await server.serve()
        except SystemExit:  # uvicorn's, with the reason in the log
            raise OnhandError(f"cannot listen at {config.host} port {config.port}; see above") from None
        finally:
            for task in beside:
                task.cancel()


async def _end_when(stop: asyncio.Event, server: uvicorn.Server) -> None:
    """End the server for a signal that came before it listened to signals itself."""
    await stop.wait()
    server.should_exit = True


async def worker(settings: Settings) -> None:
    """Run one worker until it is told to stop; its runs are handed over."""
    from workers.lifecycle import work

    redactor = Redactor()
    logs.set_up(settings.log_json, redactor)
    async with bootstrap.build(settings, redactor) as built:
        await work(built, settings.limits.concurrent_runs, _stop_signal())


async def up(settings: Settings) -> int:
    """Run web, worker and (unless one is configured) Redis until Ctrl-C. Returns the exit status."""
    stop = _stop_signal()
    bootstrap.check(settings)
    await bootstrap.prepare_database(settings)
    redis = None if settings.redis_url else EmbeddedRedis(settings.home)
    environment = dict(os.environ)
    if redis is not None:
        environment["ONHAND_REDIS_URL"] = await redis.start()
    port = settings.port or free_port(settings.host)
    children = [
        _Child("web", ["serve", "--host", settings.host, "--port", str(port)], environment),
        _Child("worker", ["worker"], environment),
    ]
    keeping = asyncio.create_task(_keep_redis(redis)) if redis else None
    try:
        for child in children:
            await child.start()
        await _until_ready(f"http://{settings.host}:{port}", children, stop)
        if not stop.is_set():
            _announce(settings, port)
        return await _supervise(children, stop)
    finally:
        await asyncio.gather(*(child.stop() for child in children))
        if redis is not None and keeping is not None:
            keeping.cancel()
            await redis.stop()


@dataclass
class _Child:
    """One process of the tree, started again when it dies."""

    name: str
    arguments: list[str]
    environment: Mapping[str, str]
    process: asyncio.subprocess.Process | None = field(default=None)
    started_at: float = 0.0

    async def start(self) -> None:
        self.started_at = time.monotonic()
        self.process = await start_bound(*self.arguments, env=self.environment)

    async def ended(self) -> int:
        """Wait until it has; return its exit status, below 0 when it was killed."""
        assert self.process is not None
        return await self.process.wait()

    async def stop(self) -> None:
        if self.process is None or self.process.returncode is not None:
            return
        self.process.terminate()
        await end(self.process, STOP_SECONDS)


async def start_bound(*arguments: str, **options: Any) -> asyncio.subprocess.Process:
    """Start `onhand ARGUMENTS` as a process of its own session that ends when we do, however that happens."""
    command = [sys.executable, "-m", "bot", *arguments, "--bound"]
    return await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, start_new_session=True, **options
    )


async def end(process: asyncio.subprocess.Process, seconds: float) -> None:
    """Wait until a process that was told to has ended; by force when it takes too long."""
    try:
        async with asyncio.timeout(seconds):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def end_with_parent() -> None:
    """Stop this process, in the ordinary way, when whoever holds the other end of standard input is gone."""

    def watch() -> None:
        while os.read(0, 1024):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()


@dataclass
class _Restarts:
    """The starts after the first one of one process: ever more seldom while it dies soon, and said once for each way it ends."""

    name: str
    _tries: int = 0
    _said: str = ""

    async def pause(self, how: str, lived: float) -> None:
        """Wait before it is started again, that ended like this after so many seconds."""
        if lived >= _STEADY:
            self._tries, self._said = 0, ""
        if how != self._said:
            click.echo(f"onhand: {self.name} {how}; starting it again, until it stays", err=True)
        self._said = how
        await asyncio.sleep(min(_RESTART_PAUSE * 2**self._tries, _LONGEST_RESTART_PAUSE))
        self._tries = min(self._tries + 1, 10)


async def _keep_redis(redis: EmbeddedRedis) -> None:
    """Start Redis again whenever it dies: nobody else can, and without it no work is begun."""
    restarts, how = _Restarts("Redis"), "died"
    while True:
        started_at = time.monotonic()
        await redis.ended()
        await restarts.pause(how, time.monotonic() - started_at)
        try:
            await redis.start()
            how = "died"
        except (OnhandError, OSError) as error:
            how = f"cannot start ({error})"


async def _keep(child: _Child) -> None:
    """Start it again whenever it dies. Raises OnhandError when it ended by itself at its first start."""
    restarts, first = _Restarts(child.name), True
    while True:
        code, lived = await child.ended(), time.monotonic() - child.started_at
        if first and code > 0 and lived < _FIRST_START:
            raise OnhandError(f"{child.name} cannot start (exit {code}); see above")
        first = False
        await restarts.pause(f"died (exit {code})", lived)
        await child.start()


async def _supervise(children: list[_Child], stop: asyncio.Event) -> int:
    """Start again what dies, until `stop`; give up on a child that could not even start once."""
    stopping = asyncio.create_task(stop.wait())
    keeping = [asyncio.create_task(_keep(child)) for child in children]
    try:
        done, _ = await asyncio.wait([stopping, *keeping], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (stopping, *keeping):
            task.cancel()
        await asyncio.gather(stopping, *keeping, return_exceptions=True)
    for task in done - {stopping}:
        task.result()
    return 0


async def _until_ready(url: str, children: list[_Child], stop: asyncio.Event, patience: float = 60.0) -> None:
    import httpx  # `serve`, whose start it would lengthen, has no need of it

    deadline = time.monotonic() + patience
    async with httpx.AsyncClient(trust_env=False) as client:
        while time.monotonic() < deadline and not stop.is_set():
            dead = [c.name for c in children if c.process and c.process.returncode is not None]
            if dead:
                raise OnhandError(f"{dead[0]} ended while starting; see above")
            try:
                if (await client.get(f"{url}/ready")).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            await asyncio.sleep(0.1)
    if not stop.is_set():
        raise Unavailable(f"{url} was not ready within {patience:.0f} s")


def _announce(settings: Settings, port: int) -> None:
    base = settings.public_url or f"http://{settings.host}:{port}"
    click.echo(f"onhand is up at {base}")
    for name in bootstrap.configured(settings):
        click.echo(f"  webhooks of {name}: {endpoint(base, name)}")
    click.echo("Ctrl-C ends it.")
    sys.stdout.flush()


def _stop_signal() -> asyncio.Event:
    """Return an event that is set by SIGINT and SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return stop


def free_port(host: str) -> int:
    """Return a port that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port
