"""The ports: what the stories need of the rooms, and what a stranger's package implements.

Add a provider: Integration (and Forge, if code lives there), in `providers`. Add a sandbox: Sandboxes and Sandbox, in `boxes`.
Each is found by an entry point and built with one call, as its docstring says.
"""

from bot.core.ports.agent import Limits, Model, Reply, RunLog, Tool, ToolCall
from bot.core.ports.boxes import BoxSpec, Checkout, CommandResult, Sandbox, Sandboxes
from bot.core.ports.chats import Installed, Installer, Listener, Take, ThreadOpener, installed_in
from bot.core.ports.memory import (
    Accepted,
    Accounts,
    Bus,
    Conversations,
    EventLog,
    Inbox,
    Leases,
    Record,
    Sweep,
    Sweeps,
    User,
    Vault,
)
from bot.core.ports.people import AuthContext, AuthStrategy
from bot.core.ports.providers import (
    CaughtUp,
    Dated,
    Equipped,
    Forge,
    Form,
    Integration,
    Linked,
    Picker,
    Proposal,
    Registered,
    Registration,
    Source,
    Us,
    as_sent,
)
from bot.core.ports.queue import Circle, InLine, Load, Queue, Rates
from bot.core.ports.services import Services, Workshop

__all__ = [
    "Accepted",
    "Accounts",
    "AuthContext",
    "AuthStrategy",
    "BoxSpec",
    "Bus",
    "CaughtUp",
    "Checkout",
    "Circle",
    "CommandResult",
    "Conversations",
    "Dated",
    "Equipped",
    "EventLog",
    "Forge",
    "Form",
    "InLine",
    "Inbox",
    "Installed",
    "Installer",
    "Integration",
    "Leases",
    "Limits",
    "Linked",
    "Listener",
    "Load",
    "Model",
    "Picker",
    "Proposal",
    "Queue",
    "Rates",
    "Record",
    "Registered",
    "Registration",
    "Reply",
    "RunLog",
    "Sandbox",
    "Sandboxes",
    "Services",
    "Source",
    "Sweep",
    "Sweeps",
    "Take",
    "ThreadOpener",
    "Tool",
    "ToolCall",
    "Us",
    "User",
    "Vault",
    "Workshop",
    "as_sent",
    "installed_in",
]
