"""The shapes and rules that sampling is compiled for."""

import dataclasses
from collections.abc import Sequence

from star_jax.inference.buckets import Bucket
from star_jax.inference.sampling import SamplingParams
from star_jax.inference.stop_rule import StopRule


@dataclasses.dataclass(frozen=True)
class SamplingSpec:
    """The shapes and rules that sampling is compiled for.

    Attributes:
        buckets: static shapes to decode rows in.
        stop: rule that ends rows.
        params: parameters of drawing a token.
        prefix_length: most tokens of the few-shot prompt; 0: there is none.
        bare: True if some rows have no few-shot prompt.
    """

    buckets: Sequence[Bucket]
    stop: StopRule
    params: SamplingParams
    prefix_length: int = 0
    bare: bool = False

    @property
    def with_prefix(self) -> tuple[bool, ...]:
        """Kinds of rows: with the few-shot prompt (True,), without it (False,), or both."""
        prefix = bool(self.prefix_length)
        return tuple(sorted({prefix, prefix and not self.bare}))

    @property
    def draws(self) -> bool:
        """True if tokens are drawn; otherwise decoding is greedy."""
        return self.params.temperature > 0
