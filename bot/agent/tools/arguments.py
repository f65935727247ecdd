"""Arguments of tools: a msgspec Struct gives the JSON Schema that the model sees and checks what the model sends.

Forbid unknown fields in it, and describe each field with `Annotated[..., Meta(description=...)]`.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from bot.core.errors import UserError

T = TypeVar("T", bound=Struct)


def schema(kind: type[Struct]) -> dict[str, Any]:
    """Return the JSON Schema of these arguments, without references and null, which confuse some models."""
    whole = msgspec.json.schema(kind)
    plain = _plain(whole, whole["$defs"])
    return {
        "type": "object",
        **{k: plain[k] for k in ("properties", "required", "additionalProperties") if k in plain},
    }


def read(kind: type[T], arguments: Mapping[str, Any]) -> T:
    """Return the arguments as `kind`. Raises UserError("arguments") that says what was expected and what came."""
    try:
        return msgspec.convert(arguments, kind, strict=False)
    except msgspec.ValidationError as error:
        raise UserError("arguments", f"The arguments do not fit: {error}. Expected: {_fields(kind)}.") from error


def _plain(node: Any, definitions: Mapping[str, Any]) -> Any:
    match node:
        case list():
            return [_plain(item, definitions) for item in node]
        case {"$ref": str(name)}:
            return _plain(definitions[name.rpartition("/")[2]], definitions)
        case {"anyOf": [kind, {"type": "null"}], **rest}:
            return _plain({**kind, **{k: v for k, v in rest.items() if k != "default"}}, definitions)
        case dict():
            own_name = isinstance(node.get("title"), str)
            kept = {key: value for key, value in node.items() if key != "$defs" and not (own_name and key == "title")}
            return {key: _plain(value, definitions) for key, value in kept.items()}
    return node


def _fields(kind: type[Struct]) -> str:
    fields = msgspec.structs.fields(kind)
    return ", ".join(f"{f.encode_name}{'' if f.required else ' (optional)'}" for f in fields)
