"""STaR on the paper's arithmetic: sums of two numbers of 1-5 digits, worked out on a scratchpad.

command   python -m star_jax.main --config=configs/arithmetic.py --workdir=runs/arithmetic
          --config=configs/arithmetic.py:scratch makes the base model too; :study is an arm of the
          study in experiments/arithmetic; :fused and :online are the demo in mode 'fused', its
          policy frozen for a round or the learner itself; :no_rationalization, :rest_em, :rft,
          :expert_iteration, :label_free and :v_star are other methods, with the demo's updates and
          about as many rationales a round
hardware  a CPU with 2 cores
time      5 min on a Zen 5; :scratch 12 min 23 s on a Zen 4; the study 79 min; :fused about 7 min
          and :online 8; :rest_em and the others 4 to 8 on one core
expected  99.5 % of held-out sums, from 2.6 % at the base (seed 0); the study 94.5-96.9 %; from an
          earlier base :fused 94.5-96.4 %, :online 96.2 % (seed 0)

The base model comes with the package; `make base` makes it anew. It was pretrained on scratchpads
that are right where a hint gives the answer and otherwise one too many in three columns of four
(`Arithmetic.corpus`). So it knows the format, can follow a hint and has a rough sense of what
digits add up to, but it cannot add.
"""

from ml_collections import ConfigDict

from star_jax.config import methods, validation

VARIANTS = ("demo", "scratch", "study", "fused", "online", "no_rationalization", *methods.METHODS)


def get_config(variant: str = "demo") -> ConfigDict:
    """The experiment; `variant` is what follows the colon, one of `VARIANTS`.

    Raises:
        ValueError: there is no such variant.
    """
    if variant not in VARIANTS:
        raise ValueError(f"configs/arithmetic.py:{variant}: the variants are {', '.join(VARIANTS)}")
    config = validation.defaults()
    config.task.ood_digits = 10 if variant == "study" else 7
    if variant in ("scratch", "study"):
        config.pretrain.update(steps=1700, hinted=0.45, easy=0.5, save_every=250)
    else:
        config.model.source = "shipped:arithmetic"
    # A model of a million weights needs more and larger updates than GPT-J.
    config.train.update(schedule="cosine", batch_size=16, length=256, b2=0.98, save_every=250)
    config.rationalize.rehearsal = 0.2
    config.rounds.problems = 2500
    if variant == "study":
        config.pretrain.steps, config.pretrain.hinted = 2000, 0.3
        config.train.first_steps, config.train.growth, config.rounds.count = 60, 1.4, 8
    else:
        config.train.first_steps, config.train.growth, config.rounds.count = 120, 2.0, 3
    if variant in ("fused", "online"):
        config.mode, config.sampler.rows, config.train.micro_batch = "fused", 32, 8
        config.rounds.problems = 10_000  # a pass over them is a round's updates
    if variant == "online":
        # What it writes is what it learns next: at 3e-4 its slips in copying became a habit.
        config.policy_refresh_every, config.train.learning_rate = 1, 1.5e-4
        config.rounds.problems, config.rounds.count = 5000, 6
    if variant == "no_rationalization":
        config.rationalize.update(enabled=False, rehearsal=0.0)
    if variant in methods.METHODS:
        count = config.rounds.count
        methods.apply(config, variant)
        # As many rationales a round as the demo, which tries failures twice: 8 for 625 questions.
        config.sampler.samples, config.rounds.problems, config.rounds.count = 8, 625, count
    return config
