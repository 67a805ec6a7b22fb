"""Several methods at once: their injections merged, their tensors side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from repro.methods.base import Context, Injection, Method, Tuning, no_start


class Composition:
    """Parts by name; the first builds the head. At most one part has a prompt at the input and one tunes weights."""

    def __init__(self, name: str, parts: Mapping[str, Method]):
        self.name, self.parts = name, dict(parts)
        tunings = [part.tuning for part in self.parts.values() if part.tuning is not None]
        assert len(tunings) <= 1, "two parts tune the backbone"
        self.tuning: Tuning | None = tunings[0] if tunings else None

    @property
    def parameters(self) -> dict[str, Tensor]:
        """`<part>.<name>` of every part's tensors."""
        return {f"{key}.{name}": t for key, part in self.parts.items() for name, t in part.parameters.items()}

    @parameters.setter
    def parameters(self, tensors: Mapping[str, Tensor]) -> None:
        for key, own in self._split(tensors).items():
            self.parts[key].parameters = own

    def _split(self, tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        return {
            key: {name.removeprefix(f"{key}."): t for name, t in tensors.items() if name.startswith(f"{key}.")}
            for key in self.parts
        }

    def build(self, context: Context) -> None:
        """Each part from the same generators, one after the other."""
        for index, part in enumerate(self.parts.values()):
            part.build(context if index == 0 else replace(context, outputs=None))

    def injection(self, training: bool, keys: Tensor | None = None) -> Injection:
        """All parts' injections as one."""
        return merged([part.injection(training, keys) for part in self.parts.values()])

    def export(self) -> dict[str, Tensor]:
        """`<part>.<name>` of every part's export."""
        return {f"{key}.{name}": t for key, part in self.parts.items() for name, t in part.export().items()}

    def restore(self, exported: Mapping[str, Tensor]) -> None:
        """Takes what `export` gave."""
        for key, own in self._split(exported).items():
            self.parts[key].restore(own)

    def start(self, exported: Mapping[str, Tensor]) -> None:
        """There is no prompt to start.

        Raises:
            ValueError: always.
        """
        raise no_start(self.name)

    def parameter_counts(self) -> dict[str, int]:
        """Sums over the parts."""
        counts = [part.parameter_counts() for part in self.parts.values()]
        return {key: sum(count[key] for count in counts) for key in counts[0]}


def merged(injections: Sequence[Injection]) -> Injection:
    """One injection of several; what only one of them has is taken from it, keys and values of different sites join."""
    out = Injection()
    for one in injections:
        assert out.embeds is None or one.embeds is None, "two prompts at the input"
        assert not set(out.kv) & set(one.kv) and not set(out.adapters) & set(one.adapters), "two at one site"
        changed = {
            name: getattr(one, name)
            for name, default in vars(Injection()).items()
            if name not in ("kv", "adapters") and getattr(one, name) is not default
        }
        out = replace(out, kv={**out.kv, **one.kv}, adapters={**out.adapters, **one.adapters}, **changed)
    return out
