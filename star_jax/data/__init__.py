"""Text to tokens: tokenizers, prompts, packed sequences. Imports no jax.

tokenizer.py          bytes, or a Hugging Face tokenizer; tokenizer_loading.py finds its files
gguf_tokenizer.py     the tokenizer inside a GGUF file
token_bytes.py        the bytes that each token stands for
chat_template.py      a chat model's template; special_tokens.py: tokens that no text encodes to
sample.py             one attempt at a problem, with its grade
prompts.py            questions, hints and few-shot examples as token ids
pairs.py              right and wrong completions of a question; pair_batches.py packs them
packing.py            packs examples of different lengths into sequences of one length
problems.py           the problems that a run trains on, holds out and tests on
"""
