"""The phases in which a round samples."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Phase:
    """One way of sampling.

    Attributes:
        name: prefix of the ledger's files, NAME-00000.jsonl and so on.
        stream: number of the random stream; with the run's seed and the round it keys all draws.
        hinted: True if the prompt has the answer as a hint.
        drawn: True if tokens are drawn, given a temperature; otherwise decoding is greedy.
        previous_policy: True if the model of the previous round samples, prompted as in that round.
    """

    name: str
    stream: int
    hinted: bool = False
    drawn: bool = False
    previous_policy: bool = False

    @property
    def trained_on(self) -> bool:
        """True if the round is trained on what the filter keeps of the samples."""
        return self.previous_policy


GENERATE = Phase("samples", stream=0, drawn=True, previous_policy=True)
RATIONALIZE = Phase("rationalized", stream=1, hinted=True, drawn=True, previous_policy=True)
EVALUATE = Phase("evaluation", stream=2)
EVALUATE_HINTED = Phase("hinted", stream=3, hinted=True)
TEST = Phase("test", stream=4)
VOTE = Phase("votes", stream=5, drawn=True)
