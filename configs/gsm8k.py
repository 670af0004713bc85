"""STaR on GSM8K's word problems; without a variant, the paper's GPT-J-6B.

command   python -m star_jax.main --config=configs/gsm8k.py --workdir=runs/gsm8k
          --config=configs/gsm8k.py:smollm2 is SmolLM2-135M-Instruct on a subset, :paper is the
          default, :released_code samples as the released code does; :rest_em, :rft,
          :expert_iteration, :label_free and :v_star are other methods (star_jax/config/methods.py),
          of GPT-J or, as in :smollm2,rest_em, of SmolLM2
hardware  8 devices of 16 GiB, such as a TPU v3-8, by the compiler for TPUs (not tried; see
          experiments/tpu_compile/table.md); :smollm2 a CPU with 2 cores
time      GPT-J was not run; :smollm2 not timed; the study of 128 questions about an hour
expected  the paper has 10.7 % on the test set with rationalization, 10.1 % without, 5.8 % for
          direct answers; for :smollm2 see experiments/gsm8k_smollm2

`config.task.data` is a name on the Hugging Face hub. Where that cannot be reached, give a folder
with train.jsonl and test.jsonl: --config.task.data=FOLDER; likewise `config.model.source`.
Weights are read from safetensors only: where a hub has pickles alone, open the model once with
transformers where you trust it, save_pretrained it to a folder, and give that.
"""

from ml_collections import ConfigDict

from star_jax.config import methods, validation

VARIANTS = ("paper", "gpt_j", "released_code", "smollm2", *methods.METHODS)


def get_config(variant: str = "paper") -> ConfigDict:
    """The experiment; `variant` is what follows the colon: some of `VARIANTS`, with commas.

    Raises:
        ValueError: there is no such variant.
    """
    chosen = variant.split(",")
    if not set(chosen) <= set(VARIANTS):
        raise ValueError(f"configs/gsm8k.py:{variant}: the variants are {', '.join(VARIANTS)}")
    config = validation.defaults()
    config.task.update(name="gsm8k", data="hf:openai/gsm8k:main", dev=0.05)
    config.few_shot.update(examples=6, rounds=1000)
    config.rounds.update(count=36, problems=0, patience=10, keep_weights="best")
    config.evaluate.problems = 0
    config.model.update(source="EleutherAI/gpt-j-6b", dtype="bfloat16")
    config.mesh.update(data=1, tensor=8)
    config.sampler.update(max_new_tokens=256)
    config.train.update(
        batch_size=8, length=1536, micro_batch=0, learning_rate=1e-6, warmup_steps=100, b2=0.999
    )
    config.train.save_every = 500  # 73 GB at a time
    config.train.remat = "blocks"
    config.train.update(first_steps=40, growth=1.2, max_steps=7912)
    if "released_code" in chosen:
        config.sampler.update(temperature=0.01, top_p=0.9)
    if "smollm2" in chosen:
        config.model.update(source="HuggingFaceTB/SmolLM2-135M-Instruct", dtype="float32")
        config.mesh.update(data=-1, tensor=1)
        config.train.remat = "none"
        config.rounds.update(count=3, problems=512)
        config.evaluate.update(problems=128, test_problems=256)
        config.few_shot.examples = 4
        config.sampler.update(max_new_tokens=160)
        config.train.update(
            batch_size=4, length=512, micro_batch=4, learning_rate=2e-5, warmup_steps=5
        )
        config.train.save_every = 100
        config.train.update(first_steps=20, growth=1.5)
    for method in (name for name in chosen if name in methods.METHODS):
        methods.apply(config, method)
        config.rounds.patience = 0  # the method says how many rounds
        config.train.few_shot = method == "rest_em"
    return config
