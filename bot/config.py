"""The settings: read once, environment over onhand.toml over defaults, each with a note of where it came from.

Here live the settings of the product itself. A provider's settings are a Struct of its own (`Integration.Settings`), filled
from the section that bears its name.
"""

import ast
import difflib
import inspect
import os
import textwrap
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import platformdirs
from msgspec import Meta, Struct, field

from bot.core.errors import ConfigError
from bot.core.secret import MASK, Secret

PREFIX = "ONHAND_"

S = TypeVar("S", bound=Struct)

AtLeastOne = Annotated[int, Meta(ge=1)]
NoneOrMore = Annotated[int, Meta(ge=0)]
Positive = Annotated[float, Meta(gt=0)]


class Auth(Struct, frozen=True, kw_only=True):
    """`[auth]`"""

    strategy: str = "none"
    """Who may use the service: none (local use), single_user, multi_user, or a name from an entry point."""
    login: str = ""
    """single_user: the one account that may ask, as service:login."""


class Llm(Struct, frozen=True, kw_only=True):
    """`[llm]`, and `[llm.NAME]` for further models that a request can choose with model=NAME."""

    model: str = ""
    """LiteLLM model name, such as anthropic/claude-sonnet-4-5; script:FILE plays a script instead of a model."""
    base_url: str = ""
    """Address of the model's API, where it is not the provider's own."""
    api_key: Secret | None = None
    """Key for the model's API."""
    timeout: Positive = 300.0
    """Seconds to wait for one answer; one that does not come is asked for again, three times as long in all."""


class Sandbox(Struct, frozen=True, kw_only=True):
    """`[sandbox]`"""

    kind: str = "local"
    """Backend: local (bubblewrap), process (no isolation), docker, or a name from an entry point. Change it when no run is
    open: one that is loses what it has not pushed, and boxes of the former kind are not removed any more."""
    image: str = "onhand-sandbox"
    """Image of a container backend."""
    cpus: Positive = 2.0
    """Processor cores that a box may use."""
    memory: AtLeastOne = 4096
    """Memory of a box in MB."""
    pids: AtLeastOne = 512
    """Processes that a box may have."""
    network: Literal["none", "open"] = "none"
    """What a box reaches: none or open."""


class Limits(Struct, frozen=True, kw_only=True):
    """`[limits]`"""

    steps: AtLeastOne = 100
    """Model calls in a run."""
    cost_usd: Positive = 5.0
    """US dollars that a run may cost."""
    minutes: Positive = 30.0
    """Minutes that a run may take."""
    command_seconds: Positive = 120.0
    """Seconds that one command may take."""
    concurrent_runs: AtLeastOne = 8
    """Runs at the same time in one worker."""
    per_person: NoneOrMore = 30
    """Requests in an hour that are admitted of one person; 0 is no limit, here and below."""
    per_repository: NoneOrMore = 60
    """Requests in an hour that are admitted in one repository."""
    per_thread: NoneOrMore = 20
    """Requests in an hour that are admitted in one thread."""
    loop_requests: NoneOrMore = 10
    """Requests in a thread that look like a loop when they come within loop_minutes; it is left alone for as long then."""
    loop_minutes: Annotated[float, Meta(ge=0)] = 10.0
    """Minutes within which they come."""


class Settings(Struct, frozen=True, kw_only=True):
    """Everything that can be set, apart from the providers' sections."""

    home: Path = field(default_factory=lambda: Path(platformdirs.user_data_dir("onhand")))
    """Data folder: database, Redis files, keys, repository mirrors, boxes."""
    public_url: str = ""
    """How people reach the page; default http://HOST:PORT."""
    host: str = "127.0.0.1"
    """Address to bind to."""
    port: Annotated[int, Meta(ge=0, le=65535)] = 3000
    """Port to bind to; 0 takes a free one."""
    database_url: Secret | None = None
    """postgresql://... or sqlite:///...; default: SQLite in the data folder."""
    redis_url: Secret | None = None
    """redis://... or unix://...; default: a Redis of its own in the data folder."""
    secret_keys: Secret | None = None
    """Keys that encrypt stored tokens, comma separated, the first encrypts; default: made once in the data folder."""
    handle: str = "@onhand"
    """What people write to call it."""
    label: str = "onhand"
    """The label that calls it."""
    log_json: bool = False
    """1 for one JSON object a line."""
    auth: Auth = Auth()
    """Who may use the service."""
    llm: Llm = Llm()
    """The language model."""
    sandbox: Sandbox = Sandbox()
    """Where the agent works."""
    limits: Limits = Limits()
    """Caps of a run, and of what may be asked for."""
    repositories: dict[str, dict[str, str]] = {}
    """Default repository of a channel, project or team: REPOSITORIES__SLACK__C0123=owner/name, or gitlab:group/name."""
    models: dict[str, Llm] = {}
    """Named models, from [llm.NAME]."""
    sections: dict[str, dict[str, Any]] = {}
    """Sections of providers and other extensions, as text."""
    origins: dict[str, str] = {}
    """Where each value came from: `environment`, the file's name; what is not here is a default."""


_PARTS: dict[str, type[Struct]] = {"auth": Auth, "llm": Llm, "sandbox": Sandbox, "limits": Limits}
_NOT_SET_BY_PEOPLE = ("models", "sections", "origins")


def load(environment: Mapping[str, str], file: Path | None = None) -> Settings:
    """Read the settings. `file` defaults to onhand.toml in the current folder, if there is one.

    Raises ConfigError for a file that is no TOML, an unknown name and a value of the wrong type.
    """
    tree: dict[str, Any] = {}
    origins: dict[str, str] = {}
    path = file or Path("onhand.toml")
    if file is not None or path.exists():
        _merge(tree, _read_toml(path), origins, path.name)
    _merge(tree, _from_environment(environment), origins, "environment")
    for name in _PARTS:
        if not isinstance(tree.get(name, {}), dict):
            raise ConfigError(f"{_variable(name)}: expected a section of settings, found a value; see docs/settings.md")
    named = {k: tree["llm"].pop(k) for k in list(tree.get("llm", {})) if isinstance(tree["llm"][k], dict)}
    models = {name: section(Llm, values, f"llm__{name}") for name, values in named.items()}
    known = set(Settings.__struct_fields__) - set(_NOT_SET_BY_PEOPLE)
    sections = {name: tree.pop(name) for name in list(tree) if name not in known and isinstance(tree[name], dict)}
    for name in tree.keys() - known:
        raise ConfigError(f"there is no setting {_variable(name)}{_did_you_mean(name, known)}")
    tree |= {name: section(part, tree.get(name, {}), name) for name, part in _PARTS.items()}
    return section(Settings, {**tree, "models": models, "sections": sections, "origins": origins}, "")


def section(struct: type[S], values: Mapping[str, Any], name: str) -> S:
    """Return the values as the struct of a section. Raises ConfigError that names the setting."""
    for key in values.keys() - set(struct.__struct_fields__):
        raise ConfigError(f"there is no setting {_variable(name, key)}{_did_you_mean(key, struct.__struct_fields__)}")
    try:
        return msgspec.convert(values, struct, strict=False, dec_hook=_decode)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        parts = [part for part in [name, *where.rstrip("`").split(".")] if part]
        raise ConfigError(f"{_variable(*parts)}: {what[:1].lower()}{what[1:]}") from error


def rows(settings: Struct, origins: Mapping[str, str], prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Yield (variable, value, origin, meaning) of every setting in force; secrets are masked."""
    meanings = describe(type(settings))
    for name in settings.__struct_fields__:
        value = getattr(settings, name)
        path = f"{prefix}{name}"
        if name in _NOT_SET_BY_PEOPLE:
            continue
        if isinstance(value, Struct):
            yield from rows(value, origins, f"{path}.")
        else:
            shown = MASK if isinstance(value, Secret) else "" if value is None else str(value)
            yield _variable(*path.split(".")), shown, origins.get(path, "default"), meanings.get(name, "")


def describe(struct: type) -> dict[str, str]:
    """Return the docstring of each field of a Struct, from its source, on one line."""
    body = ast.parse(textwrap.dedent(inspect.getsource(struct))).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for line, after in zip(body.body, body.body[1:], strict=False):
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and isinstance(after, ast.Expr):
            found[line.target.id] = " ".join(str(ast.literal_eval(after.value)).split())
    return found


def check_home(home: Path) -> None:
    """Raise ConfigError for a data folder that this user could neither use nor make."""
    there = next(folder for folder in (home.absolute(), *home.absolute().parents) if os.path.lexists(folder))
    if not there.is_dir():
        raise ConfigError(f"ONHAND_HOME: expected a folder, {there} is none")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"ONHAND_HOME: expected a folder that this user can write to, {there} is none")


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no valid TOML: {error}") from error


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for variable, value in environment.items():
        if not variable.startswith(PREFIX) or not value:
            continue
        *path, last = variable.removeprefix(PREFIX).lower().split("__")
        branch = tree
        for part in path:
            branch = branch.setdefault(part, {})
            if not isinstance(branch, dict):
                raise ConfigError(f"{variable}: {PREFIX}{'__'.join(path).upper()} is a value and cannot have parts")
        branch[last] = value
    return tree


def _merge(into: dict[str, Any], tree: Mapping[str, Any], origins: dict[str, str], origin: str, path: str = "") -> None:
    for key, value in tree.items():
        if isinstance(value, dict):
            branch = into.setdefault(key, {})
            if isinstance(branch, dict):
                _merge(branch, value, origins, origin, f"{path}{key}.")
                continue
        into[key] = value
        origins[f"{path}{key}"] = origin


def _decode(wanted: type, value: Any) -> Any:
    if wanted is Secret:
        return Secret(str(value))
    if wanted is Path:
        return Path(str(value)).expanduser()
    raise NotImplementedError(wanted)


def _variable(*path: str) -> str:
    return PREFIX + "__".join(part.upper() for part in path if part)


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0].upper()}?" if close else ""
