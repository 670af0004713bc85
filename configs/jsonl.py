"""STaR on any file of questions and answers, with any pretrained model.

command   python -m star_jax.main --config=configs/jsonl.py --workdir=runs/mine
          --config.task.data=qa.jsonl --config.model.source=FOLDER-OR-NAME
          --config.task.few_shot_file=few_shot.jsonl --config.few_shot.examples=2
          Without worked examples a model seldom writes an answer that the rule finds.
hardware  what the model asks for: python -m star_jax.inspect_model SOURCE
time      that of the model, the number of questions and the length of the answers
expected  see docs/own_questions.md
"""

from ml_collections import ConfigDict

from star_jax.config import validation


def get_config() -> ConfigDict:
    """The experiment; the data and the model are to be given on the command line."""
    config = validation.defaults()
    config.task.name = "jsonl"
    config.rounds.update(count=3, problems=0, keep_weights="best")
    config.evaluate.problems = 0
    config.few_shot.rounds = 1000
    config.sampler.update(max_new_tokens=192)
    config.train.update(batch_size=4, length=512, micro_batch=1, learning_rate=1e-5)
    config.train.update(first_steps=40, growth=1.2, warmup_steps=10)
    return config
