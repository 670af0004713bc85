r"""Completes prompts with a model, in a few lines of Python.

    sampler = Sampler.open("SmolLM2-135M-Instruct.gguf", max_new_tokens=64)
    [text] = sampler(["Q: What is 7 + 5?\nA:"])

Runs sample through `star/generate.py`, which also grades and resumes.
"""

from collections.abc import Sequence

from jax.sharding import Mesh

from star_jax.conversion import load
from star_jax.data import packing
from star_jax.data.tokenizer import HuggingFaceTokenizer
from star_jax.inference import scheduler
from star_jax.inference.buckets import Bucket
from star_jax.inference.programs import SamplingPrograms
from star_jax.inference.sampling import SamplingParams
from star_jax.inference.scheduler import Request
from star_jax.inference.slot_batch import DeviceSlots
from star_jax.inference.spec import SamplingSpec
from star_jax.inference.stop_rule import make_stop_rule
from star_jax.runtime import sharding
from star_jax.runtime.compile import Compiler
from star_jax.star import finite

GREEDY = SamplingParams()


class Sampler:
    """A model on the devices that completes prompts; made by `open`.

    Args:
        loaded: the model.
        tokenizer: tokenizer of the model.
        mesh: devices that the model is on.
        spec: what sampling is compiled for; its first bucket takes all prompts.
        chat: prompts are messages of a user, written by the model's chat template.
    """

    def __init__(
        self,
        loaded: load.Loaded,
        tokenizer: HuggingFaceTokenizer,
        mesh: Mesh,
        spec: SamplingSpec,
        chat: bool = False,
    ) -> None:
        self._tokenizer, self._spec, self._chat = tokenizer, spec, chat
        self._dtype = loaded.config.compute.dtype
        compiler = Compiler()
        self._programs = SamplingPrograms(compiler, loaded.config, mesh, spec)
        compiler.start()
        self._policy = self._programs.policy(self._programs.lay_out(loaded.params))

    @classmethod
    def open(
        cls,
        source: str,
        *,
        max_new_tokens: int = 256,
        prompt_length: int = 512,
        rows: int = 16,
        params: SamplingParams = GREEDY,
        stop: str = "",
        chat: bool = False,
        dtype: str = "float32",
        mesh: Mesh | None = None,
    ) -> "Sampler":
        """Loads a model and begins to compile its programs.

        Args:
            source: folder, .gguf file, run or name on the Hugging Face hub; see `load.load`.
            max_new_tokens: of a completion.
            prompt_length: most tokens of a prompt.
            rows: prompts that are decoded at a time; a multiple of the devices that share a batch.
            params: temperature, top-k and top-p; greedy by default.
            stop: text that ends a completion; "" for none. It is not part of the completion.
            chat: prompts are messages of a user, written by the model's chat template.
            dtype: numeric type of the computation, "float32" or "bfloat16".
            mesh: the devices; None: all of them, each with all weights.

        Raises:
            LoadError: the model cannot be read; the message names the file and the remedy.
            ValueError: it has no chat template, or no tokenizer of a known kind.
        """
        mesh = mesh or sharding.make_mesh()
        tokenizer = HuggingFaceTokenizer.open(source)
        if chat and not tokenizer.chats:
            raise ValueError(f"{source}: the tokenizer has no chat template; set chat=False")
        loaded = load.load(source, mesh, dtype=dtype)
        tokens = loaded.config.tokens
        stop_rule = make_stop_rule(
            tokenizer.eos_ids, stop, tokenizer.token_bytes()[:tokens], loaded.config.vocab
        )
        bucket = Bucket(max_new_tokens, prompt_length, rows)
        return cls(loaded, tokenizer, mesh, SamplingSpec((bucket,), stop_rule, params), chat)

    def __call__(self, prompts: Sequence[str], *, seed: int = 0) -> list[str]:
        """Completes every prompt.

        Args:
            prompts: texts, of any number.
            seed: of the draws; with the number of a prompt it decides what is drawn.

        Returns:
            A completion for every prompt, without end-of-text and stop text.

        Raises:
            ValueError: a prompt has more than `prompt_length` tokens.
            SettingsError: the model's logits are not finite.
        """
        [bucket] = self._spec.buckets
        requests = [
            Request(number, self._ids(prompt), bucket.max_new_tokens)
            for number, prompt in enumerate(prompts)
        ]
        texts = [""] * len(requests)
        for chunk in scheduler.plan(requests, (bucket,), refills=max(1, len(requests))):
            completions, _ = scheduler.run(
                chunk, DeviceSlots(self._programs, self._policy, (seed, 0, 0), chunk.bucket)
            )
            for one in completions:
                texts[one.number] = self._text(one.tokens)
        return texts

    def _ids(self, prompt: str) -> list[int]:
        if self._chat:
            return self._tokenizer.chat([{"role": "user", "content": prompt}])
        return [*packing.bos(self._tokenizer), *self._tokenizer.encode(prompt)]

    def _text(self, tokens: Sequence[int]) -> str:
        finite.check_written(tokens, self._dtype)
        text, stop = self._tokenizer.decode(tokens), self._spec.stop.text.decode()
        return text.partition(stop)[0] if stop else text
