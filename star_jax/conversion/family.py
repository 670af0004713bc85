"""What a model family of Hugging Face is: how its config.json and tensors are read and written."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from star_jax.conversion.config_fields import FamilyError, FieldGroup, Fields
from star_jax.conversion.weight_map import INSIDE, OUTSIDE, StoredWeight, stored_weight
from star_jax.models.config import ComputeConfig, ModelConfig

# What every config.json may say without a word about the computation.
_IGNORED = frozenset(
    """
    architectures attn_implementation attention_dropout attention_probs_dropout_prob attn_pdrop
    bad_words_ids begin_suppress_tokens cache_implementation classifier_dropout
    diversity_penalty do_sample dtype early_stopping embd_pdrop encoder_no_repeat_ngram_size
    exponential_decay_length_penalty finetuning_task gradient_checkpointing hidden_dropout
    hidden_dropout_prob id2label initializer_range is_decoder keys_to_ignore_at_inference
    label2id length_penalty max_length max_new_tokens min_length model_type no_repeat_ngram_size
    num_beam_groups num_beams num_labels num_return_sequences output_attentions
    output_hidden_states output_scores prefix problem_type remove_invalid_values
    repetition_penalty resid_pdrop return_dict return_dict_in_generate suppress_tokens
    task_specific_params temperature tf_legacy_loss tokenizer_class top_k top_p torch_dtype
    torchscript transformers.js_config transformers_version typical_p unsloth_fixed
    unsloth_version use_bfloat16 use_cache
    """.split()
)
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "add_cross_attention": (False, None),
    "auto_map": (None,),
    "chunk_size_feed_forward": (0,),
    "cross_attention_hidden_size": (None,),
    "is_encoder_decoder": (False,),
    "pruned_heads": (None, {}),
    "quantization_config": (None,),
    "tie_encoder_decoder": (False,),
}


@dataclasses.dataclass(frozen=True)
class Family:
    """One family.

    Attributes:
        name: `model_type` in config.json.
        architecture: the class in transformers.
        fixed: fields of ModelConfig that are the same in the whole family.
        aspects: what else config.json says, in the order in which it is read.
        outside: modules outside of the blocks (see `stored`).
        blocks: the list of blocks.
        inside: modules of a block.
        neutral: keys that are not implemented -> values at which they change nothing.
        ignored: keys of the family that never change the computation.
        buffers: endings of tensors that hold no weights.
    """

    name: str
    architecture: str
    fixed: Mapping[str, Any]
    aspects: tuple[FieldGroup, ...]
    outside: Mapping[str, str]
    blocks: str
    inside: Mapping[str, str]
    neutral: Mapping[str, tuple[Any, ...]] = dataclasses.field(default_factory=dict)
    ignored: frozenset[str] = frozenset()
    buffers: tuple[str, ...] = ()

    @property
    def prefix(self) -> str:
        """What some files leave away from every name but the head's, such as "model."."""
        return self.blocks.split(".")[0] + "."

    def read(self, values: Mapping[str, Any], where: str) -> ModelConfig:
        """The shape of a model from its config.json.

        Computation and weights are float32 and the vocabulary is not padded: the caller decides on
        these.

        Args:
            values: of config.json.
            where: the file, for messages.

        Raises:
            FamilyError: a key that is missing, impossible, or may change the computation in a way
                that is not implemented.
        """
        if (values.get("architectures") or [self.architecture]) != [self.architecture]:
            why = f"is not implemented; only {self.architecture} is"
            raise FamilyError(f"{where}: architectures = {values['architectures']!r}: {why}")
        fields = Fields(values, where)
        found = dict(self.fixed)
        for aspect in self.aspects:
            found |= aspect.read(fields, found)
        fields.settle({**_NEUTRAL, **self.neutral}, _IGNORED | self.ignored)
        try:
            return ModelConfig(**found)
        except ValueError as error:
            raise FamilyError(f"{where}: {error}") from error

    def write(self, config: ModelConfig) -> dict[str, Any]:
        """A config.json that says what `config` is; `read` gives it back (see `said`).

        Raises:
            FamilyError: no model of the family has this shape; the message names the fields.
        """
        values: dict[str, Any] = {"architectures": [self.architecture], "model_type": self.name}
        for aspect in self.aspects:
            values |= aspect.write(canonical(config))
        values["dtype"] = config.compute.param_dtype
        self.check(config, values, "its config.json")
        return values

    def check(self, config: ModelConfig, values: Mapping[str, Any], where: str) -> None:
        """Compares a model with a config.json, but for the context where positions have no weights.

        Raises:
            FamilyError: they are not the same model; the message names the fields.
        """
        mine = dataclasses.asdict(canonical(config))
        its = dataclasses.asdict(self.read(values, where))
        if not config.learned_positions:
            its["context"] = mine["context"]
        different = [
            f"{key} = {mine[key]!r}, not {its[key]!r}" for key in its if mine[key] != its[key]
        ]
        if different:
            raise FamilyError(f"{self.name}: {where} cannot say {'; '.join(different)}")

    def stored(self, name: str, config: ModelConfig) -> StoredWeight:
        """The place of the weight `name`, such as "blocks.0.mlp.up_bias.value", in the files.

        Raises:
            FamilyError: the family has no such weight.
        """
        parts = name.removesuffix(".value").split(".")
        inside = parts[0] == "blocks"
        module = f"{self.blocks}.{parts[1]}." if inside else ""
        axes, lines = (INSIDE, self.inside) if inside else (OUTSIDE, self.outside)
        key = ".".join(parts[2:] if inside else parts)
        bias = key.endswith(("_bias", ".bias"))
        key = key.removesuffix(".scale").removesuffix(".bias").removesuffix("_bias")
        if key not in lines:
            raise FamilyError(f"{name}: no model of the family {self.name} has such a weight")
        return stored_weight(lines[key], module, bias, axes[key], config)


def canonical(config: ModelConfig) -> ModelConfig:
    """What config.json can say: no padding, types or devices, and no two ways to say one thing."""
    return dataclasses.replace(
        config,
        vocab=config.vocab - config.vocab_padding,
        vocab_padding=0,
        compute=ComputeConfig(),
        kv_heads=0 if config.kv_heads == config.heads else config.kv_heads,
        windows=config.windows if any(config.windows) else (),
    )
