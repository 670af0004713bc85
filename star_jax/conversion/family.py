"""A model family of Hugging Face: reads and writes its config.json, and names its tensors."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from star_jax.conversion.config_fields import FamilyError, FieldGroup, Fields
from star_jax.conversion.weight_map import INSIDE, OUTSIDE, StoredWeight, stored_weight
from star_jax.models.config import ComputeConfig, ModelConfig

# Keys of any config.json that never affect the computation.
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
# Keys that are not implemented -> values at which they do not affect the computation.
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
    """A model family.

    Attributes:
        name: value of "model_type" in config.json.
        architecture: name of the class in transformers.
        fixed: fields of ModelConfig that are the same in the whole family.
        groups: groups of the other fields of config.json, in the order in which they are read.
        outside: our weight -> line for `stored_weight`, for weights outside of the blocks.
        blocks: name of the list of blocks in the files.
        inside: our weight -> line for `stored_weight`, for weights of a block.
        neutral: keys that are not implemented -> values at which they do not affect the
            computation.
        ignored: keys of the family that never affect the computation.
        buffers: endings of the names of tensors that hold no weights.
    """

    name: str
    architecture: str
    fixed: Mapping[str, Any]
    groups: tuple[FieldGroup, ...]
    outside: Mapping[str, str]
    blocks: str
    inside: Mapping[str, str]
    neutral: Mapping[str, tuple[Any, ...]] = dataclasses.field(default_factory=dict)
    ignored: frozenset[str] = frozenset()
    buffers: tuple[str, ...] = ()

    @property
    def prefix(self) -> str:
        """The prefix that some files leave out of all names but the head's, such as "model."."""
        return self.blocks.split(".")[0] + "."

    def read(self, values: Mapping[str, Any], where: str) -> ModelConfig:
        """Returns the configuration of a model from its config.json.

        Computation and weights are float32, and the vocabulary is not padded; `for_mesh` changes
        these.

        Args:
            values: content of config.json.
            where: name of the file, for messages.

        Raises:
            FamilyError: a key is missing, has an impossible value, or may change the computation in
                a way that is not implemented.
        """
        if (values.get("architectures") or [self.architecture]) != [self.architecture]:
            why = f"is not implemented; only {self.architecture} is"
            raise FamilyError(f"{where}: architectures = {values['architectures']!r}: {why}")
        fields = Fields(values, where)
        known = dict(self.fixed)
        for group in self.groups:
            known |= group.read(fields, known)
        fields.settle({**_NEUTRAL, **self.neutral}, _IGNORED | self.ignored)
        try:
            return ModelConfig(**known)
        except ValueError as error:
            raise FamilyError(f"{where}: {error}") from error

    def write(self, config: ModelConfig) -> dict[str, Any]:
        """Returns the content of a config.json from which `read` gives `canonical(config)`.

        Raises:
            FamilyError: no model of the family has this configuration; the message names the
                fields.
        """
        values: dict[str, Any] = {"architectures": [self.architecture], "model_type": self.name}
        for group in self.groups:
            values |= group.write(canonical(config))
        values["dtype"] = config.compute.param_dtype
        self.check(config, values, "its config.json")
        return values

    def check(self, config: ModelConfig, values: Mapping[str, Any], where: str) -> None:
        """Checks that a config.json describes `config`.

        The context may differ, unless positions are learned.

        Args:
            config: configuration of the model.
            values: content of config.json.
            where: name of the file, for messages.

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
        """Returns where the weight `name`, such as "blocks.0.mlp.up_bias.value", is in the files.

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
    """Returns `config` without padding, types and devices; equal models give equal results."""
    return dataclasses.replace(
        config,
        vocab=config.tokens,
        vocab_padding=0,
        compute=ComputeConfig(),
        kv_heads=0 if config.kv_heads == config.heads else config.kv_heads,
        windows=config.windows if any(config.windows) else (),
    )
