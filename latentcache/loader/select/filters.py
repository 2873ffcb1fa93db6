"""Filters: one expression over plan fields and annotations, in a small part of Python's syntax.

``score > 5 and label in ("cat", "dog") and caption is not None``. Parsed, never run as
code; a comparison with a missing value is false, as is its opposite.
"""

import ast
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from latentcache.core.errors import ConfigError

MAX_CHARACTERS = 4096

Flags = np.ndarray[Any, np.dtype[np.bool_]]
Values = Any
"""A ``pyarrow`` array, or a scalar of the expression."""

_COMPARE: dict[type[ast.cmpop], Callable[..., Any]] = {
    ast.Eq: pc.equal,
    ast.NotEq: pc.not_equal,
    ast.Lt: pc.less,
    ast.LtE: pc.less_equal,
    ast.Gt: pc.greater,
    ast.GtE: pc.greater_equal,
}
_ARITHMETIC: dict[type[ast.operator], Callable[..., Any]] = {
    ast.Add: pc.add,
    ast.Sub: pc.subtract,
    ast.Mult: pc.multiply,
    ast.Div: pc.divide,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "len": pc.utf8_length,
    "lower": pc.utf8_lower,
    "contains": pc.match_substring,
    "startswith": pc.starts_with,
    "endswith": pc.ends_with,
}


@dataclass(frozen=True, slots=True)
class Filter:
    """A parsed expression.

    Attributes:
        text: As written.
        names: The fields and annotations it speaks of.
    """

    text: str
    names: frozenset[str]
    _tree: ast.expr

    def rewritten(self, transformer: ast.NodeTransformer) -> "Filter":
        """Return the same filter with its expression put otherwise."""
        return replace(self, _tree=transformer.visit(deepcopy(self._tree)))

    def select(self, values: Mapping[str, Values]) -> Flags:
        """Return which rows the expression holds for.

        Args:
            values: An array per name, all of one length.

        Raises:
            ConfigError: A comparison or function does not fit its values' types.
        """
        try:
            found = _evaluate(self._tree, values)
            if not (pa.types.is_boolean(found.type) or pa.types.is_null(found.type)):
                raise TypeError(f"a value of type {found.type} and no comparison")
            selected: Flags = found.cast(pa.bool_()).fill_null(False).to_numpy(zero_copy_only=False)
        except (pa.ArrowException, TypeError, AttributeError, RecursionError) as error:
            reason = str(error).splitlines()[0].rstrip(".")
            raise ConfigError(
                f"filter must fit the types of its fields, got {reason!r} ({self.text}); "
                f"compare numbers with numbers and text with text"
            ) from None
        return selected


def parse_filter(text: str) -> Filter:
    """Return the filter that ``text`` spells.

    Raises:
        ConfigError: It is not one; says where.
    """
    if len(text) > MAX_CHARACTERS:
        raise ConfigError(f"filter must be at most {MAX_CHARACTERS} characters, got {len(text)}")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else "too deep"
        raise ConfigError(
            f"filter must be one expression, got {reason!r} ({text}); "
            f'write for example score > 5 and label in ("cat", "dog")'
        ) from None
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        _check(node, text)
    names = frozenset(
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in called
    )
    if not names:
        raise ConfigError(f"filter must speak of a field, got none ({text}); name one")
    return Filter(text, names, tree)


_PLAIN = (
    ast.BoolOp,
    ast.boolop,
    ast.unaryop,
    ast.cmpop,
    ast.operator,
    ast.expr_context,
    ast.Name,
    ast.Compare,
)


def _check(node: ast.AST, text: str) -> None:
    is_known = (
        isinstance(node, _PLAIN)
        or (isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)))
        or (isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC)
        or (isinstance(node, ast.Constant) and isinstance(node.value, str | int | float | None))
        or (isinstance(node, ast.Tuple | ast.List) and all(map(_is_literal, node.elts)))
        or (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in _FUNCTIONS
            and not node.keywords
            and bool(node.args)
            and all(map(_is_literal, node.args[1:]))
        )
    )
    if isinstance(node, ast.Compare):
        for operator, right in zip(node.ops, node.comparators, strict=True):
            is_list = isinstance(right, ast.Tuple | ast.List)
            is_known &= is_list == isinstance(operator, ast.In | ast.NotIn)
    if not is_known:
        part = ast.unparse(node) if isinstance(node, ast.expr) else type(node).__name__
        raise ConfigError(
            f"filter must be comparisons joined by and, or, not, got {part!r} ({text}); "
            f"functions are {', '.join(_FUNCTIONS)}, as in contains(lower(caption), 'cat')"
        )


def _is_literal(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node = node.operand
    return isinstance(node, ast.Constant)


def _evaluate(node: ast.expr, values: Mapping[str, Values]) -> Values:  # noqa: PLR0911  one line a node
    match node:
        case ast.Name():
            return values[node.id]
        case ast.Constant():
            value: Any = node.value
            return pa.scalar(value)
        case ast.BoolOp():
            parts = [_evaluate(part, values) for part in node.values]
            join = pc.and_kleene if isinstance(node.op, ast.And) else pc.or_kleene
            result = parts[0]
            for part in parts[1:]:
                result = join(result, part)
            return result
        case ast.UnaryOp(op=ast.Not()):
            return pc.invert(_evaluate(node.operand, values))
        case ast.UnaryOp():
            return pc.negate(_evaluate(node.operand, values))
        case ast.BinOp():
            left, right = _evaluate(node.left, values), _evaluate(node.right, values)
            return _ARITHMETIC[type(node.op)](left, right)
        case ast.Call(func=ast.Name(id=name)):
            first, *rest = node.args
            return _FUNCTIONS[name](_evaluate(first, values), *(ast.literal_eval(a) for a in rest))
        case ast.Compare():
            return _compare(node, values)
    raise TypeError(f"{type(node).__name__} has no value of its own")


def _compare(node: ast.Compare, values: Mapping[str, Values]) -> Values:
    result: Values = None
    left: ast.expr = node.left
    for operator, right in zip(node.ops, node.comparators, strict=True):
        one = _compare_pair(operator, left, right, values)
        result = one if result is None else pc.and_kleene(result, one)
        left = right
    return result


def _compare_pair(
    operator: ast.cmpop, left: ast.expr, right: ast.expr, values: Mapping[str, Values]
) -> Values:
    value = _evaluate(left, values)
    if isinstance(operator, ast.In | ast.NotIn):
        found = _is_in(value, ast.literal_eval(right))
        # is_in says false, not null, for a missing value: its opposite must be false too.
        found = pc.if_else(pc.is_valid(value), found, pa.scalar(None, pa.bool_()))
        return pc.invert(found) if isinstance(operator, ast.NotIn) else found
    if isinstance(operator, ast.Is | ast.IsNot):
        if not (isinstance(right, ast.Constant) and right.value is None):
            raise TypeError("is compares with None only")
        return pc.is_null(value) if isinstance(operator, ast.Is) else pc.is_valid(value)
    return _COMPARE[type(operator)](value, _evaluate(right, values))


def _is_in(value: Values, given: Any) -> Values:
    """Return which values are among those given, as ``==`` with one of them says.

    ``is_in`` looks at bits, by which -0.0 is not 0; and a fraction is no whole number.
    """
    members = pa.array(given)
    if pa.types.is_integer(value.type) and pa.types.is_floating(members.type):
        whole = [int(one) for one in given if one is not None and float(one).is_integer()]
        members = pa.array(whole, pa.int64())
    found = pc.is_in(value, value_set=members.cast(value.type))
    if pa.types.is_floating(value.type) and 0 in given:
        is_zero: Any = pc.equal(value, pa.scalar(0.0, value.type))
        found = pc.or_(found, is_zero.fill_null(False))
    return found
