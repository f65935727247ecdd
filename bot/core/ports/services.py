"""Everything a story may ask for, as one value."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bot.core.ports.agent import Limits, Model, Tool
from bot.core.ports.boxes import Checkout, Sandboxes
from bot.core.ports.memory import Accounts, Bus, Conversations, EventLog, Inbox, Leases, Sweeps, Vault
from bot.core.ports.people import AuthStrategy
from bot.core.ports.providers import Integration
from bot.core.ports.queue import Queue, Rates
from bot.core.secret import Secret


@dataclass(frozen=True)
class Services:
    """Everything a story may ask for. Made by `bot.bootstrap` alone."""

    integrations: Mapping[str, Integration]
    auth: AuthStrategy
    log: EventLog
    conversations: Conversations
    inbox: Inbox
    leases: Leases
    queue: Queue
    sweeps: Sweeps
    accounts: Accounts
    vault: Vault
    bus: Bus
    clock: Callable[[], float]
    """Unix seconds."""
    mask: Callable[[Secret], None]
    """Has a secret masked wherever texts are logged or stored, as long as it is one of the last few that were used."""
    rates: Rates
    """How much may be asked for."""
    defaults: Mapping[str, str]
    """The repository of a channel, project or team, by `service:place` in lower case."""
    redact: Callable[[str], str]
    """Masks every such secret in a text that goes out without having been stored."""


@dataclass(frozen=True)
class Workshop:
    """What a run needs beside the services. Only workers have one."""

    model: Callable[[str], Model]
    """The model of a configuration's name; "" is the default one. Raises Refused for a name that is not configured."""
    tools: Mapping[str, Tool]
    sandboxes: Sandboxes
    checkout: Checkout
    limits: Limits
