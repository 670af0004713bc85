"""Compares methods of self-training on sums of 1-5 digits, from one base model.

    python -m experiments.methods.study [--runs=runs/methods] [--seeds=3] [--jobs=2]
        [--output=FOLDER] [--config.NAME=VALUE ...]

Every arm may write 5,000 rationales a round and makes the demo's updates (120, 240 and 480 in three
rounds). Arms differ in how they spend the rationales: on 5,000 questions once; on 2,500 questions
once and on the failures once more, with the hint; or on 625 questions 8 times. All start from the
demo's base. With each run of V-STaR a verifier is trained, which then ranks 16 candidates of every
held-out question. Written are methods.png, table.md and best_of_k.md.
"""

import pathlib
import sys

from experiments import arms, runs
from experiments.arms import Arm, Study
from star_jax.storage import files

NAME = "methods"
CONFIG = pathlib.Path(__file__).resolve().parents[2] / "configs" / "arithmetic.py"
VERIFIER_STEPS = 840  # as many as the rounds of a run together
SHOWN = (1, 2, 4, 8, 16)  # k of best-of-k

# Colours after Okabe and Ito; grey for what differs in one setting.
STUDY = Study(
    CONFIG,
    {
        "star": Arm("STaR", "#0072B2", ("--config.rationalize.score_leaks=true",)),
        "no_rationalization": Arm(
            "STaR without rationalization",
            "#56B4E9",
            ("--config.rounds.problems=5000",),
            "no_rationalization",
        ),
        "rest_em": Arm("ReST-EM", "#D55E00", variant="rest_em"),
        "rft": Arm("RFT", "#008060", variant="rft"),
        "rft_no_dedupe": Arm(
            "RFT without dedupe", "#8A8A8A", ("--config.filter.dedupe=none",), "rft"
        ),
        "expert_iteration": Arm("expert iteration", "#CC79A7", variant="expert_iteration"),
        "label_free": Arm("label-free", "#7A5A00", variant="label_free"),
        "v_star": Arm("V-STaR's generator", "#000000", variant="v_star"),
    },
    "Held-out accuracy over 1-5 digits (%)",
    by_tokens=True,
)


def verifier_commands(seed: int, folder: pathlib.Path) -> tuple[list[str], list[str]]:
    """The command lines that train a verifier from V-STaR's run, and rank 16 candidates with it."""
    run, verifier = folder / f"v_star-seed{seed}", folder / f"verifier-seed{seed}"
    python = (sys.executable, "-m")
    train = [*python, "star_jax.verifier", f"--run={run}", f"--workdir={verifier}"]
    rank = [
        *(*python, "star_jax.evaluate", f"--config={CONFIG}", f"--model={run}"),
        *("--split=development", "--samples=16", "--config.sampler.temperature=0.7"),
        *(f"--verifier={verifier}", f"--workdir={folder / f'best_of_k-seed{seed}'}"),
    ]
    return [*train, f"--steps={VERIFIER_STEPS}"], rank


def best_of_k(folder: pathlib.Path) -> str:
    """The Markdown table of what the verifiers choose: a row a seed and a rule.

    Raises:
        ValueError: `folder` has no evaluation with a verifier.
    """
    paths = sorted(folder.glob("best_of_k-seed*/evaluation.json"))
    if not paths:
        raise ValueError(f"{folder}: no best_of_k-seed<k>/evaluation.json")
    header = ["seed", "of k samples, %", *(f"k = {k}" for k in SHOWN)]
    rows = [header, ["--:", ":--", *("--:" for _ in SHOWN)]]
    for path in paths:
        found = files.read_json(path)
        seed = path.parent.name.rpartition("seed")[2]
        for rule, key in (
            ("the verifier's choice", "best_of"),
            ("the commonest answer", "maj_at"),
            ("any is right", "pass_at"),
        ):
            cells = (
                arms.interval(found[key][str(k)]["accuracy"], found[key][str(k)]["interval"], 0)
                for k in SHOWN
            )
            rows.append([seed, rule, *cells])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def main() -> int:
    """Runs what is missing, then writes tables and plot; 0 if all went well."""
    chosen, names, more = arms.parse(STUDY, NAME, jobs=2)
    if not arms.run(STUDY, chosen.runs, names, chosen.seeds, chosen.jobs, more):
        return 1
    arms.write(STUDY, chosen.runs, chosen.output, NAME)
    if "v_star" in names:
        lines = [verifier_commands(seed, chosen.runs) for seed in range(chosen.seeds)]
        if any(any(runs.run_all(step, chosen.jobs)) for step in zip(*lines, strict=True)):
            return 1
        files.write_atomic(chosen.output / "best_of_k.md", best_of_k(chosen.runs))
        print(best_of_k(chosen.runs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
