"""Small tokenizers of SentencePiece's kind, in the three ways they treat the start of a text."""

import json
from collections.abc import Sequence

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from star_jax.data.tokenizer import HuggingFaceTokenizer

WORDS = ["▁", "▁T", "▁Th", "▁The", "T", "h", "e", "Th", "The", "é", "▁▁", "<", "s", "/", ">"]
MERGES = [("▁", "T"), ("▁T", "h"), ("▁Th", "e"), ("T", "h"), ("Th", "e"), ("▁", "▁")]
SPECIAL = ["<unk>", "<s>", "</s>", "<turn>"]


def backend(prefix: str = "normalizer") -> tokenizers.Tokenizer:
    """As Llama 2's and Mistral's tokenizers ("normalizer", "first"), or Gemma's (no prefix: "")."""
    tokens = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *WORDS]
    vocabulary = {token: id_ for id_, token in enumerate(tokens)}
    model = models.BPE(
        vocab=vocabulary, merges=MERGES, byte_fallback=True, fuse_unk=True, unk_token="<unk>"
    )
    made = tokenizers.Tokenizer(model)
    space = normalizers.Replace(" ", "▁")
    if prefix == "normalizer":
        made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), space])
    elif prefix == "first":
        made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    else:
        made.normalizer = space
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    strip = [decoders.Strip(content=" ", left=1, right=0)] if prefix else []
    made.decoder = decoders.Sequence([*steps, *strip])
    made.add_special_tokens([AddedToken(token, normalized=False) for token in SPECIAL])
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    return made


def tokenizer(prefix: str = "normalizer", ends: Sequence[int] = ()) -> HuggingFaceTokenizer:
    hub = PreTrainedTokenizerFast(
        tokenizer_object=backend(prefix), bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    return HuggingFaceTokenizer(hub, ends)


def merges(made: tokenizers.Tokenizer) -> list[list[str]]:
    """The merges of a tokenizer, the first first."""
    return json.loads(made.to_str())["model"]["merges"]
