"""Metric math: what an alarm's expression means, for one moment.

Only what this project's alarms use: numbers, ids, + - * / ^, comparisons, && || AND OR, and IF, FILL, ABS, CEIL, FLOOR, MAX, MIN, SUM, AVG of
single values. Everything else is refused when the template is deployed, because an alarm that quietly means something else is worse than none.
Reference: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
"""

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

Value = float | None

_WORDS = ((r"&&|\bAND\b", " and "), (r"\|\||\bOR\b", " or "), (r"\^", "**"))
_ARITHMETIC: dict[type, Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_COMPARISONS: dict[type, Callable[[float, float], bool]] = {
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_FUNCTIONS: dict[str, Callable[..., float]] = {
    "ABS": abs,
    "CEIL": math.ceil,
    "FLOOR": math.floor,
    "MAX": max,
    "MIN": min,
    "SUM": lambda *values: sum(values),
    "AVG": lambda *values: sum(values) / len(values),
}


def parse(text: str) -> ast.expr:
    """The tree of an expression; raises ValueError that says what it does not know."""
    translated = text
    for pattern, word in _WORDS:
        translated = re.sub(pattern, word, translated)
    try:
        tree = ast.parse(translated.strip(), mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"metric math that cannot be read: {text!r}") from error
    _check(tree, text)
    return tree


def names(tree: ast.expr) -> set[str]:
    """The ids that an expression reads."""
    called = {node.func for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and node not in called}


def value(tree: ast.expr, known: Mapping[str, Value]) -> Value:
    """What the expression is where these metrics have these values; None where one that it needs has none, or where it divides by zero."""
    match tree:
        case ast.Constant():
            return float(tree.value)
        case ast.Name():
            return known[tree.id]
        case ast.UnaryOp():
            inner = value(tree.operand, known)
            return None if inner is None else -inner
        case ast.BoolOp():
            parts = _all([value(part, known) for part in tree.values])
            return None if parts is None else float((all if isinstance(tree.op, ast.And) else any)(parts))
        case ast.BinOp() | ast.Compare():
            return _binary(tree, known)
        case ast.Call():
            return _call(tree, known)
    raise ValueError("an expression that was not checked")


def _binary(tree: ast.BinOp | ast.Compare, known: Mapping[str, Value]) -> Value:
    if isinstance(tree, ast.BinOp):
        apply, right_side = _ARITHMETIC[type(tree.op)], tree.right
    else:
        apply, right_side = _COMPARISONS[type(tree.ops[0])], tree.comparators[0]
    left, right = value(tree.left, known), value(right_side, known)
    if left is None or right is None:
        return None
    try:
        return float(apply(left, right))
    except ZeroDivisionError:
        return None


def _call(tree: ast.Call, known: Mapping[str, Value]) -> Value:
    function = tree.func.id  # type: ignore[attr-defined]
    arguments = [value(argument, known) for argument in tree.args]
    if function == "FILL":
        return arguments[1] if arguments[0] is None else arguments[0]
    if function == "IF":
        condition, then, *otherwise = arguments
        if condition is None:
            return None
        return then if condition else (otherwise[0] if otherwise else None)
    given = _all(arguments)
    return None if given is None else float(_FUNCTIONS[function](*given))


def _all(values: list[Value]) -> list[float] | None:
    given = [one for one in values if one is not None]
    return given if len(given) == len(values) else None


def _check(tree: ast.AST, text: str) -> None:
    match tree:
        case ast.Constant() if isinstance(tree.value, (int, float)) and not isinstance(tree.value, bool):
            return
        case ast.Name():
            return
        case ast.UnaryOp() if isinstance(tree.op, ast.USub):
            inner: list[Any] = [tree.operand]
        case ast.BoolOp():
            inner = tree.values
        case ast.BinOp() if type(tree.op) in _ARITHMETIC:
            inner = [tree.left, tree.right]
        case ast.Compare() if len(tree.ops) == 1 and type(tree.ops[0]) in _COMPARISONS:
            inner = [tree.left, *tree.comparators]
        case ast.Call() if _is_known_call(tree):
            inner = tree.args
        case _:
            raise ValueError(f"metric math that the local stack does not know (infra/local/alarms/expression.py): {text!r}")
    for part in inner:
        _check(part, text)


def _is_known_call(tree: ast.Call) -> bool:
    if not isinstance(tree.func, ast.Name) or tree.keywords:
        return False
    wanted = {"IF": (2, 3), "FILL": (2, 2), "ABS": (1, 1), "CEIL": (1, 1), "FLOOR": (1, 1)}
    least, most = wanted.get(tree.func.id, (1, 10) if tree.func.id in _FUNCTIONS else (1, 0))
    return least <= len(tree.args) <= most
