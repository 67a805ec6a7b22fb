"""Predicates over numbers as text, e.g. `all(mt[s] - pt[s] <= 1 for s in sizes)`: parsed by `ast`, never by `eval`.

A number is an interval [low, high] in each of D draws: low = high where it is known, (-inf, inf) where it is missing,
and wider than a point where it counts or averages over missing ones. A truth is two facts a draw: certainly true,
certainly false. So a predicate can fail although some of its numbers are missing, and D draws of uncertain numbers give
the share of draws in which it holds.

Allowed: numbers, names, `family[key, ...]` (a number from outside), + - * /, comparisons (chained too), and, or, not,
generators over the named sets (with `if` on names), lists, and the functions of `FUNCTIONS`. A name that is neither
bound nor a set is a text (the key `xxl`). Numbers within 1e-9 are equal.
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from repro.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from repro.papers.statistics import Floats

    Bools = npt.NDArray[np.bool_]

Key = str | int | float

_SAME = 1e-9


@dataclass(frozen=True)
class Number:
    """low [D] <= number <= high [D]; equal where it is known."""

    low: Floats
    high: Floats


@dataclass(frozen=True)
class Truth:
    """true [D]: certainly so; false [D]: certainly not; neither where missing numbers decide."""

    true: Bools
    false: Bools


@dataclass
class Evaluation:
    """One evaluation: where numbers come from, and what is noticed on the way."""

    number: Callable[[str, tuple[Key, ...]], Floats | float | None]
    """(family, keys) to draws [D], or None for a missing number. Raises DataError for an unknown family or key."""
    sets: Mapping[str, Sequence[Key]]
    draws: int = 1
    exceptions: list[dict[str, object]] = field(default_factory=list)
    """Bindings under which an element of an `all(...)` is false in every draw."""

    def truth(self, text: str) -> Truth:
        """The truth of a predicate."""
        return self._truth(self._value(_parsed(text), {}), text)

    def value(self, text: str) -> object:
        """What an expression gives: a Number, a Truth, a text, or a list or tuple of these."""
        return self._value(_parsed(text), {})

    # ---- nodes

    def _value(self, node: ast.expr, bound: dict[str, object]) -> object:
        match node:
            case ast.Constant(value=value) if isinstance(value, (int, float, str)) and not isinstance(value, bool):
                return value
            case ast.Name(id=name):
                return bound[name] if name in bound else list(self.sets[name]) if name in self.sets else name
            case ast.Subscript(value=ast.Name(id=family), slice=inner):
                keys = inner.elts if isinstance(inner, ast.Tuple) else [inner]
                return self._cell(family, tuple(self._key(key, bound) for key in keys))
            case ast.Tuple(elts=parts):
                return tuple(self._value(part, bound) for part in parts)
            case ast.List(elts=parts):
                return [self._value(part, bound) for part in parts]
            case ast.GeneratorExp() | ast.ListComp():
                return [self._value(node.elt, inner) for inner in self._bindings(node.generators, bound)]
            case ast.BinOp(left=left, op=operator, right=right):
                a, b = (self._number(self._value(side, bound), node) for side in (left, right))
                return self._arithmetic(operator, a, b, node)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                inner_number = self._number(self._value(operand, bound), node)
                return Number(-inner_number.high, -inner_number.low)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                inner_truth = self._truth(self._value(operand, bound), node)
                return Truth(inner_truth.false, inner_truth.true)
            case ast.BoolOp(op=operator, values=values):
                truths = [self._truth(self._value(value, bound), node) for value in values]
                return _all(truths) if isinstance(operator, ast.And) else _any(truths)
            case ast.Compare():
                return self._comparison(node, bound)
            case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in FUNCTIONS:
                return self._call(name, argument, bound)
        raise DataError(f"a predicate may not contain `{ast.unparse(node)}`.")

    def _key(self, node: ast.expr, bound: dict[str, object]) -> Key:
        found = self._value(node, bound)
        if not isinstance(found, (str, int, float)):
            raise DataError(f"a key must be a text or a number, not `{ast.unparse(node)}`.")
        return found

    def _cell(self, family: str, keys: tuple[Key, ...]) -> Number:
        import numpy as np

        found = self.number(family, keys)
        if found is None:
            return Number(np.full(self.draws, -np.inf), np.full(self.draws, np.inf))
        array = np.broadcast_to(np.asarray(found, dtype=float), (self.draws,))
        return Number(array, array)

    def _bindings(self, generators: list[ast.comprehension], bound: dict[str, object]) -> Iterator[dict[str, object]]:
        if not generators:
            yield bound
            return
        first, *rest = generators
        if not isinstance(first.target, ast.Name):
            raise DataError(f"a generator binds one name, not `{ast.unparse(first.target)}`.")
        values = self._value(first.iter, bound)
        if not isinstance(values, list):
            raise DataError(f"a generator runs over a set, and `{ast.unparse(first.iter)}` is none.")
        for value in values:
            inner = {**bound, first.target.id: value}
            if all(self._plain(test, inner) for test in first.ifs):
                yield from self._bindings(rest, inner)

    def _plain(self, node: ast.expr, bound: dict[str, object]) -> bool:
        """A condition on names: == or != of two texts."""
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.ops[0], (ast.Eq, ast.NotEq)):
            same = self._key(node.left, bound) == self._key(node.comparators[0], bound)
            return same if isinstance(node.ops[0], ast.Eq) else not same
        raise DataError(f"a condition of a generator compares two names, unlike `{ast.unparse(node)}`.")

    def _number(self, value: object, node: ast.AST) -> Number:
        import numpy as np

        if isinstance(value, Number):
            return value
        if isinstance(value, (int, float)):
            array = np.full(self.draws, float(value))
            return Number(array, array)
        raise DataError(f"`{ast.unparse(node)}` needs numbers; {value!r} is none.")

    def _truth(self, value: object, node: ast.AST | str) -> Truth:
        if isinstance(value, Truth):
            return value
        text = node if isinstance(node, str) else ast.unparse(node)
        raise DataError(f"`{text}` is neither true nor false.")

    def _arithmetic(self, operator: ast.operator, a: Number, b: Number, node: ast.AST) -> Number:
        import numpy as np

        if isinstance(operator, ast.Add):
            return Number(a.low + b.low, a.high + b.high)
        if isinstance(operator, ast.Sub):
            return Number(a.low - b.high, a.high - b.low)
        if not isinstance(operator, (ast.Mult, ast.Div)):
            raise DataError(f"a predicate may not contain `{ast.unparse(node)}`.")
        known = np.isfinite(a.low) & np.isfinite(a.high) & np.isfinite(b.low) & np.isfinite(b.high)
        if isinstance(operator, ast.Div):
            known &= (b.low > 0) | (b.high < 0)
        ends = [(x, y) for x in (a.low, a.high) for y in (b.low, b.high)]
        with np.errstate(all="ignore"):
            corners = [x * y if isinstance(operator, ast.Mult) else x / y for x, y in ends]
        low, high = np.min(corners, axis=0), np.max(corners, axis=0)
        return Number(np.where(known, low, -np.inf), np.where(known, high, np.inf))

    def _comparison(self, node: ast.Compare, bound: dict[str, object]) -> Truth:
        sides = [self._number(self._value(side, bound), node) for side in (node.left, *node.comparators)]
        pairs = zip(node.ops, itertools.pairwise(sides), strict=True)
        return _all([_compared(operator, a, b, node) for operator, (a, b) in pairs])

    def _call(self, name: str, argument: ast.expr, bound: dict[str, object]) -> object:
        if name == "all" and isinstance(argument, ast.GeneratorExp):
            return self._all_of(argument, bound)
        values = self._value(argument, bound)
        if name in ("all", "any", "count"):
            truths = [self._truth(one, argument) for one in _listed(values, argument)]
            return {"all": _all, "any": _any, "count": _count}[name](truths)
        if name == "argmax":
            return _argmax([self._pair(item, argument) for item in _listed(values, argument)])
        if name == "abs":
            return _absolute(self._number(values, argument))
        numbers = [self._number(one, argument) for one in _listed(values, argument)]
        if name == "decreasing":
            return _all([_compared(ast.Gt(), a, b, argument) for a, b in itertools.pairwise(numbers)])
        return _aggregated(name, numbers)

    def _pair(self, item: object, node: ast.AST) -> tuple[float, Number]:
        if isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], (str, int, float)):
            return float(item[0]), self._number(item[1], node)
        raise DataError(f"`{ast.unparse(node)}` needs pairs of a key and a number.")

    def _all_of(self, argument: ast.GeneratorExp, bound: dict[str, object]) -> Truth:
        truths = []
        for inner in self._bindings(argument.generators, bound):
            found = self._truth(self._value(argument.elt, inner), argument)
            if found.false.all():
                self.exceptions.append(inner)
            truths.append(found)
        return _all(truths)


FUNCTIONS = ("all", "any", "count", "abs", "mean", "sum", "min", "max", "std", "argmax", "decreasing")
"""`count`: how many are true; `std`: with n - 1; `argmax((key, number) for ...)`: the number `key` of the largest;
`decreasing`: strictly."""


def _parsed(text: str) -> ast.expr:
    try:
        return ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise DataError(f"the predicate `{text}` cannot be read: {error.msg}.") from error


def _listed(value: object, node: ast.AST) -> list[object]:
    if isinstance(value, list) and value:
        return value
    raise DataError(f"`{ast.unparse(node)}` must be a list or generator with at least one element.")


def _all(truths: Sequence[Truth]) -> Truth:
    import numpy as np

    if not truths:
        raise DataError("a predicate speaks of no case at all.")
    return Truth(np.all([t.true for t in truths], axis=0), np.any([t.false for t in truths], axis=0))


def _any(truths: Sequence[Truth]) -> Truth:
    found = _all([Truth(t.false, t.true) for t in truths])
    return Truth(found.false, found.true)


def _count(truths: Sequence[Truth]) -> Number:
    import numpy as np

    certain = np.sum([t.true for t in truths], axis=0).astype(float)
    return Number(certain, len(truths) - np.sum([t.false for t in truths], axis=0).astype(float))


def _compared(operator: ast.cmpop, a: Number, b: Number, node: ast.AST) -> Truth:
    match operator:
        case ast.Gt():
            return Truth(a.low > b.high + _SAME, a.high <= b.low + _SAME)
        case ast.GtE():
            return Truth(a.low >= b.high - _SAME, a.high < b.low - _SAME)
        case ast.Lt():
            return _compared(ast.Gt(), b, a, node)
        case ast.LtE():
            return _compared(ast.GtE(), b, a, node)
        case ast.Eq():
            return _all([_compared(ast.GtE(), a, b, node), _compared(ast.LtE(), a, b, node)])
    raise DataError(f"a predicate may not compare as in `{ast.unparse(node)}`.")


def _absolute(a: Number) -> Number:
    import numpy as np

    inside = (a.low <= 0) & (a.high >= 0)
    nearest = np.minimum(np.abs(a.low), np.abs(a.high))
    return Number(np.where(inside, 0.0, nearest), np.maximum(np.abs(a.low), np.abs(a.high)))


def _aggregated(name: str, numbers: Sequence[Number]) -> Number:
    import numpy as np

    low, high = np.stack([n.low for n in numbers]), np.stack([n.high for n in numbers])  # [items, D]
    if name == "std":
        if len(numbers) < 2:
            raise DataError("a standard deviation needs at least two numbers.")
        known = (low == high).all(axis=0) & np.isfinite(low).all(axis=0)
        spread = np.std(np.where(np.isfinite(low), low, 0.0), axis=0, ddof=1)
        return Number(np.where(known, spread, 0.0), np.where(known, spread, np.inf))
    functions: dict[str, Callable[..., Floats]] = {"mean": np.mean, "sum": np.sum, "min": np.min, "max": np.max}
    return Number(functions[name](low, axis=0), functions[name](high, axis=0))


def _argmax(pairs: Sequence[tuple[float, Number]]) -> Number:
    """The key of the largest number; of equal ones the first."""
    import numpy as np

    low, high = np.stack([n.low for _, n in pairs]), np.stack([n.high for _, n in pairs])
    known = (low == high).all(axis=0) & np.isfinite(low).all(axis=0)
    best = np.asarray([key for key, _ in pairs])[np.argmax(low, axis=0)]
    return Number(np.where(known, best, -np.inf), np.where(known, best, np.inf))
