"""Published methods of self-training as settings; each departs from its paper where its note says.

| setting | STaR | ReST-EM | RFT | expert iteration | label-free (LMSI) | V-STaR |
|---|---|---|---|---|---|---|
| `sampler.samples` | 1 | 32 | 100 | 8 | 32 | 16 |
| temperature, top-k | greedy | 0.7, 40 | 0.7 | 1.0 | 0.7 | 0.7 |
| `labels.source` | gold | gold | gold | gold | majority | gold |
| `filter.cap` | | 10 | | | | |
| `filter.dedupe` | | | steps | | | |
| `filter.wrong_steps` | no | no | yes | no | no | no |
| `rationalize.enabled` | yes | no | no | no | no | no |
| `rounds.start` | base | base | base | previous | base | base |
| `rounds.data` | round | round | round | round | round | all |
| `rounds.count` | until no gain | 3 | 1 | 5 | 1 | 3 |
"""

from typing import Any

from ml_collections import ConfigDict

METHODS: dict[str, dict[str, Any]] = {
    # Singh et al., 2023, arXiv 2312.06585: on MATH. Steps there end by the validation reward, here
    # by train.*.
    "rest_em": {
        "sampler": {"samples": 32, "temperature": 0.7, "top_k": 40},
        "filter": {"cap": 10},
        "rationalize": {"enabled": False, "rehearsal": 0.0},
        "rounds": {"count": 3},
    },
    # Yuan et al., 2023, arXiv 2308.01825. There a model fine-tuned on human solutions samples, and
    # these are trained on too; of rationales with equal steps the one least like the others is
    # kept, here the first.
    "rft": {
        "sampler": {"samples": 100, "temperature": 0.7},
        "filter": {"dedupe": "steps", "wrong_steps": True},
        "rationalize": {"enabled": False, "rehearsal": 0.0},
        "rounds": {"count": 1},
    },
    # Anthony et al., 2017, arXiv 1705.08439, without its search; sizes as in courses and libraries.
    "expert_iteration": {
        "sampler": {"samples": 8, "temperature": 1.0},
        "rationalize": {"enabled": False, "rehearsal": 0.0},
        "rounds": {"count": 5, "start": "previous"},
    },
    # Huang et al., 2022, arXiv 2210.11610 (LMSI). There each kept path is trained on in four
    # formats, here in one; there is no threshold on the share of the majority there either.
    "label_free": {
        "sampler": {"samples": 32, "temperature": 0.7},
        "labels": {"source": "majority"},
        "rationalize": {"enabled": False, "rehearsal": 0.0},
        "rounds": {"count": 1},
    },
    # Hosseini et al., 2024, arXiv 2402.06457; `python -m star_jax.verifier` trains the verifier
    # afterwards. There human solutions are trained on too; the temperature is not given there.
    "v_star": {
        "sampler": {"samples": 16, "temperature": 0.7},
        "rationalize": {"enabled": False, "rehearsal": 0.0},
        "rounds": {"count": 3, "data": "all"},
    },
}


def apply(config: ConfigDict, method: str) -> None:
    """Changes the settings of a config to those of a method in `METHODS`."""
    config.update(METHODS[method])
