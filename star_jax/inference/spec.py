"""What sampling is compiled for."""

import dataclasses
from collections.abc import Sequence

from star_jax.inference.buckets import Bucket
from star_jax.inference.sampling import SamplingParams
from star_jax.inference.stop_rule import StopRule


@dataclasses.dataclass(frozen=True)
class SamplingSpec:
    """What sampling is compiled for.

    Attributes:
        buckets: shapes of the rows.
        stop: when a row ends.
        params: how a token is drawn.
        prefix_length: most tokens of the few-shot prompt; 0: there is none.
        bare: some rows do without the few-shot prompt.
    """

    buckets: Sequence[Bucket]
    stop: StopRule
    params: SamplingParams
    prefix_length: int = 0
    bare: bool = False

    @property
    def with_prefix(self) -> tuple[bool, ...]:
        """Whether rows follow the few-shot prompt: no, yes, or some do and some do not."""
        prefix = bool(self.prefix_length)
        return tuple(sorted({prefix, prefix and not self.bare}))

    @property
    def draws(self) -> bool:
        """Whether tokens are drawn; otherwise decoding is greedy."""
        return self.params.temperature > 0
