"""Evaluates a model on a task: accuracy greedily, or maj@k and pass@k over k samples a question.

    python -m star_jax.evaluate --config=configs/gsm8k.py:smollm2 --model=runs/gsm8k --split=test
    python -m star_jax.evaluate --config=configs/gsm8k.py:smollm2 --model=runs/gsm8k --samples=16
        --config.sampler.temperature=0.7

  --model    a run's folder (its newest model), one of its checkpoints/rounds/<n>, a Hugging Face
             folder, a .gguf file or owner/name on the hub (default: config.model.source)
  --split    test (default) or development
  --samples  completions of every question (default 1: greedily, whatever the config says)
  --verifier a folder of star_jax.verifier: ranks the samples, and reports the best of k
  --workdir  where samples and evaluation.json go; the same command goes on with what is there
             (default: runs/evaluate/ and task, model, split and samples)
  --coordinator, --processes, --process
             over several hosts, as star_jax.main

Task, prompts and sampler are the config's.
"""

import functools
import pathlib
from collections.abc import Sequence
from typing import Any

from absl import app, flags, logging
from ml_collections import config_flags

from star_jax.config import validation
from star_jax.config.flags import parse, refuse
from star_jax.runtime import distributed

_CONFIG = config_flags.DEFINE_config_file("config", None, "the experiment's config file")
_WORKDIR = flags.DEFINE_string("workdir", None, "folder of samples and result (runs/evaluate/...)")
_MODEL = flags.DEFINE_string("model", None, "what to evaluate (config.model.source)")
_SPLIT = flags.DEFINE_enum("split", "test", ["test", "development"], "which problems")
_VERIFIER = flags.DEFINE_string("verifier", "", "folder of a verifier that ranks the samples")
_SAMPLES = flags.DEFINE_integer("samples", 1, "completions a question; 1: greedy", lower_bound=1)


def evaluate(
    settings: validation.Settings,
    workdir: str,
    *,
    split: str = "test",
    samples: int = 1,
    verifier: str = "",
) -> dict[str, Any]:
    """Evaluates a model, as `star_jax.star.evaluation.evaluate` does."""
    from star_jax.star import evaluation  # jax takes seconds to import

    return evaluation.evaluate(settings, workdir, split=split, samples=samples, verifier=verifier)


def main(argv: Sequence[str]) -> None:
    """Checks the settings, then evaluates the model."""
    del argv
    logging.set_verbosity(logging.WARNING)
    processes = distributed.process_flags()
    try:
        distributed.check(*processes)
        if _MODEL.value:
            validation.set_source(_CONFIG.value, _MODEL.value)
        settings = validation.from_config(_CONFIG.value)
        validation.check_samples(settings, _SAMPLES.value)
        name = pathlib.Path(settings.model.source).name
        folder = f"{settings.task.name}-{name}-{_SPLIT.value}-{_SAMPLES.value}"
        workdir = _WORKDIR.value or f"runs/evaluate/{folder}"
        with distributed.initialized(*processes):
            from star_jax.reporting import console
            from star_jax.runtime import compile, multihost
            from star_jax.star.evaluation import RESULT

            compile.use_cache(f"{workdir}/cache")
            result = evaluate(
                settings,
                workdir,
                split=_SPLIT.value,
                samples=_SAMPLES.value,
                verifier=_VERIFIER.value,
            )
            if multihost.is_primary():
                console.print_evaluation(result, f"{workdir}/{RESULT}")
    except validation.SettingsError as error:
        refuse(error)
    except KeyboardInterrupt:
        refuse("\nstopped; the same command goes on", status=130)


if __name__ == "__main__":
    app.run(main, flags_parser=functools.partial(parse, help=__doc__ or ""))
