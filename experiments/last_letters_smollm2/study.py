"""Last letters with SmolLM2-135M-Instruct: does STaR teach a language model to spell?

python -m experiments.last_letters_smollm2.study --config.model.source="$(make -s smollm2)"
    [--arms=A,B] [--seeds=3] [--config.NAME=VALUE ...]
"""

import pathlib
import sys

from experiments import arms
from experiments.arms import Arm, Study

HERE = pathlib.Path(__file__).resolve().parent
UNFILTERED = ("--config.filter.wrong_steps=false", "--config.filter.unchecked=false")
ARMS = {
    "checked": Arm("STaR, steps checked", "#0072B2"),
    "star": Arm("STaR", "#CC79A7", UNFILTERED),
    "no_rationalization": Arm(
        "STaR without rationalization",
        "#D55E00",
        ("--config.rationalize.enabled=false", "--config.rationalize.rehearsal=0"),
    ),
    "direct": Arm("direct answers", "#008060", ("--config.method=direct", *UNFILTERED)),
}
STUDY = Study(
    HERE.parents[1] / "configs" / "symbolic.py",
    ARMS,
    "Last letters of two names, held-out (%)",
)

if __name__ == "__main__":
    sys.exit(arms.main(STUDY, HERE.name))
