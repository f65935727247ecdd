"""Makes schema.graphql beside this file: of Linear's published schema what our documents use.

    python -m tests.integrations.linear.reduce_schema path/to/linear.graphql

Inputs that are passed as variables are kept whole, so that a field too many or one missing is found.
"""

import sys
from dataclasses import replace
from pathlib import Path

from graphql import (
    DocumentNode,
    FieldNode,
    GraphQLInputObjectType,
    GraphQLSchema,
    ObjectFieldNode,
    TypeInfo,
    TypeInfoVisitor,
    VariableDefinitionNode,
    Visitor,
    build_schema,
    get_named_type,
    parse,
    print_ast,
    visit,
)
from graphql.language import ast

from integrations.linear import documents

HERE = Path(__file__).parent / "schema.graphql"


def ours() -> list[DocumentNode]:
    """Return every document that we send."""
    named = {name: text for name, text in vars(documents).items() if name.isupper() and not name.startswith("_")}
    return [parse(text) for text in named.values()]


class Used(Visitor):
    """Notes the fields that a document uses, by type, and the inputs that it takes whole."""

    def __init__(self, schema: GraphQLSchema, info: TypeInfo) -> None:
        super().__init__()
        self.fields: dict[str, set[str]] = {}
        self.arguments: set[str] = set()
        self._schema, self._info = schema, info

    def enter_field(self, node: FieldNode, *_: object) -> None:
        parent, field = self._info.get_parent_type(), self._info.get_field_def()
        assert parent is not None, "fields stand in objects"
        assert field is not None, f"{node.name.value} is not in the schema"
        self.fields.setdefault(parent.name, set()).add(node.name.value)
        self.fields.setdefault(get_named_type(field.type).name, set())
        for argument in node.arguments or ():
            self.arguments.add(argument.name.value)
            self.fields.setdefault(get_named_type(field.args[argument.name.value].type).name, set())

    def enter_object_field(self, node: ObjectFieldNode, *_: object) -> None:
        parent = get_named_type(self._info.get_parent_input_type())
        self.fields.setdefault(parent.name, set()).add(node.name.value)
        self.fields.setdefault(get_named_type(self._info.get_input_type()).name, set())

    def enter_variable_definition(self, node: VariableDefinitionNode, *_: object) -> None:
        self._whole(get_named_type(self._info.get_input_type()))

    def _whole(self, kind: object) -> None:
        name = getattr(kind, "name", "")
        if isinstance(kind, GraphQLInputObjectType) and not self.fields.get(name):
            self.fields[name] = set(kind.fields)
            for field in kind.fields.values():
                self._whole(get_named_type(field.type))
        self.fields.setdefault(name, set())


def reduced(text: str) -> str:
    """Return the schema with what is used of it, without prose."""
    schema = build_schema(text)
    info = TypeInfo(schema)
    used = Used(schema, info)
    for document in ours():
        visit(document, TypeInfoVisitor(info, used))
    kept = [_kept(node, used) for node in parse(text, no_location=True).definitions]
    return "\n\n".join(print_ast(node) for node in kept if node is not None) + "\n"


def _kept(node: ast.DefinitionNode, whole: Used) -> ast.DefinitionNode | None:
    used, name = whole.fields, node.name.value if isinstance(node, ast.TypeDefinitionNode) else ""
    if name not in used:
        return None
    bare = {"description": None, "directives": ()}
    if isinstance(node, ast.UnionTypeDefinitionNode):
        return replace(node, **bare, types=tuple(m for m in node.types or () if m.name.value in used))
    if isinstance(node, ast.EnumTypeDefinitionNode):
        return replace(node, **bare, values=tuple(replace(v, **bare) for v in node.values or ()))
    if isinstance(node, ast.ObjectTypeDefinitionNode):
        fields = tuple(_field(f, whole) for f in node.fields or () if f.name.value in used[name])
        return replace(node, **bare, fields=fields, interfaces=())
    if isinstance(node, ast.InputObjectTypeDefinitionNode):
        return replace(
            node, **bare, fields=tuple(replace(f, **bare) for f in node.fields or () if f.name.value in used[name])
        )
    return replace(node, **bare)


def _field(field: ast.FieldDefinitionNode, whole: Used) -> ast.FieldDefinitionNode:
    wanted = (a for a in field.arguments or () if a.name.value in whole.arguments and _name(a.type) in whole.fields)
    arguments = tuple(replace(a, description=None, directives=()) for a in wanted)
    return replace(field, description=None, directives=(), arguments=arguments)


def _name(kind: ast.TypeNode) -> str:
    while not isinstance(kind, ast.NamedTypeNode):
        kind = kind.type  # type: ignore[attr-defined]
    return kind.name.value


if __name__ == "__main__":
    HERE.write_text(reduced(Path(sys.argv[1]).read_text()))
