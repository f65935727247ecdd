"""Checking recorded requests against a vendor's own API description (OpenAPI 3, dereferenced).

Our copy for GitHub is tests/integrations/github/api.json: the operations that the client uses, made by `reduced` from
`api.github.com.deref.json` of npm's `@octokit/openapi`.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Protocol
from urllib.parse import unquote

Json = dict[str, Any]

_PROSE = ("description", "summary", "example", "externalDocs", "title", "deprecated")


class Recorded(Protocol):
    """A request as a stand-in recorded it."""

    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def query(self) -> Mapping[str, str]: ...
    @property
    def body(self) -> Any: ...


def check_requests(requests: Iterable[Recorded], description: Json) -> list[str]:
    """Return a sentence for every way in which a request departs from the description; none means that all are good."""
    operations = [(_pattern(path), path, methods) for path, methods in description["paths"].items()]
    return [problem for request in requests for problem in _problems(request, operations)]


def reduced(description: Json, operations: Iterable[tuple[str, str]]) -> Json:
    """Return the description with these operations alone (method, path): parameters and request bodies, no prose."""
    paths: dict[str, Json] = {}
    for method, path in operations:
        operation = description["paths"][path][method.lower()]
        kept = {name: operation[name] for name in ("operationId", "parameters", "requestBody") if name in operation}
        paths.setdefault(path, {})[method.lower()] = _without_prose(kept)
    return {"openapi": description["openapi"], "info": {"version": description["info"]["version"]}, "paths": paths}


def _problems(request: Recorded, operations: list[tuple[re.Pattern[str], str, Json]]) -> list[str]:
    name = f"{request.method} {request.path}"
    fitting = [
        (found, methods[request.method.lower()])
        for pattern, path, methods in sorted(operations, key=lambda o: o[1].count("{"))
        if request.method.lower() in methods and (found := pattern.fullmatch(request.path))
    ]
    if not fitting:
        return [f"{name}: the description has no such operation"]
    found, operation = fitting[0]
    problems = _parameter_problems(operation, found.groups(), request.query)
    return [f"{name}: {problem}" for problem in [*problems, *_body_problems(operation, request.body)]]


def _parameter_problems(operation: Json, in_path: tuple[str, ...], query: Mapping[str, str]) -> list[str]:
    described = operation.get("parameters", [])
    path = [p for p in described if p["in"] == "path"]
    problems = [f"unknown query parameter {name}" for name in query if name not in _names(described, "query")]
    given = {**query, **dict(zip((p["name"] for p in path), map(unquote, in_path), strict=False))}
    for parameter in described:
        value = given.get(parameter["name"])
        if value is None and parameter.get("required") and parameter["in"] in ("path", "query"):
            problems.append(f"the parameter {parameter['name']} is missing")
        elif value is not None:
            problems += _schema_problems(_typed(value, parameter["schema"]), parameter["schema"], parameter["name"])
    return problems


def _body_problems(operation: Json, body: Any) -> list[str]:
    described = operation.get("requestBody")
    if described is None:
        return ["it has a body, and the description knows none"] if body is not None else []
    if body is None:
        return ["the body is missing"] if described.get("required") else []
    schema = described["content"]["application/json"]["schema"]
    unknown = set(body) - set(schema.get("properties", body)) if isinstance(body, dict) else set()
    problems = [f"the body's field {name} is not described" for name in sorted(unknown)]
    return problems + _schema_problems(body, schema, "body")


def _schema_problems(value: Any, schema: Json, where: str) -> list[str]:
    # A tool of the tests, without stubs; whoever does not check requests does without it.
    from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

    errors = Draft202012Validator(schema).iter_errors(value)
    return [f"{where}{''.join(f'.{part}' for part in error.path)}: {error.message}" for error in errors]


def _typed(value: str, schema: Json) -> Any:
    kind = schema.get("type")
    if kind == "integer" and re.fullmatch(r"-?\d+", value):
        return int(value)
    return {"true": True, "false": False}.get(value, value) if kind == "boolean" else value


def _names(parameters: list[Json], place: str) -> set[str]:
    return {p["name"] for p in parameters if p["in"] == place}


def _pattern(path: str) -> re.Pattern[str]:
    """A path's last parameter may hold slashes, as GitHub's {path} and {branch} do; only the contents API needs it."""
    pieces = re.split(r"\{\w+\}", path)
    holes = ["([^/]+)"] * (len(pieces) - 1)
    if path.endswith("/contents/{path}"):
        holes[-1] = "(.*)"
    return re.compile("".join(re.escape(p) + h for p, h in zip(pieces, [*holes, ""], strict=True)))


def _without_prose(node: Any) -> Any:
    """Drop what is for readers; a property that is called so, whose value is a schema, stays."""
    if isinstance(node, list):
        return [_without_prose(part) for part in node]
    if not isinstance(node, dict):
        return node
    prose = {name for name in _PROSE if not isinstance(node.get(name), dict)} | {"examples"}
    shown = {name: _without_prose(value) for name, value in node.items() if name not in prose}
    if shown.pop("nullable", False) and isinstance(shown.get("type"), str):
        shown["type"] = [shown["type"], "null"]
    return shown
