"""Fields of a config schema, with what the rest of the program must know about each.

A fact about a field stands here and nowhere else: the run key, the grouping of records, joint training, the token cache
and the validation of values all read it from the schema.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import MISSING
from typing import Any

_FACTS = "repro"


@dataclasses.dataclass(frozen=True)
class Facts:
    """What is known about a field beside its type and default."""

    changes_result: bool = True
    """False: no part of the run key (a folder, a remark, a matter of speed or memory)."""
    shared_jointly: bool = False
    """Trials trained jointly must agree on it."""
    varies_jointly: bool = False
    """Trials that train jointly only where they have the same task may still differ in it."""
    changes_tokens: bool = True
    """False: the token ids of given examples do not depend on it."""
    set_by_mixture: bool = False
    """Of a task inside a mixture: the mixture's own value is used instead."""
    allowed: tuple[str, ...] | None = None
    at_least: float | None = None
    above: float | None = None
    below: float | None = None
    """Limits of a number; None in the config is always allowed."""


def setting(
    default: Any = MISSING,
    *,
    factory: Callable[[], Any] | None = None,
    changes_result: bool = True,
    shared_jointly: bool = False,
    varies_jointly: bool = False,
    changes_tokens: bool = True,
    set_by_mixture: bool = False,
    allowed: tuple[str, ...] | None = None,
    at_least: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> Any:
    """`dataclasses.field` with `Facts`. Without a default and a factory the field is required."""
    facts = Facts(
        changes_result, shared_jointly, varies_jointly, changes_tokens, set_by_mixture, allowed, at_least, above, below
    )
    if factory is not None:
        return dataclasses.field(default_factory=factory, metadata={_FACTS: facts})
    return dataclasses.field(default=default, metadata={_FACTS: facts})


def facts_of(field: dataclasses.Field[Any]) -> Facts:
    """The facts stated with `setting`; those of an ordinary field where nothing was stated."""
    facts = field.metadata.get(_FACTS)
    return facts if isinstance(facts, Facts) else Facts()
