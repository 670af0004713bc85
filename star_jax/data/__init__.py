"""Text to tokens: tokenizers, prompts, packed sequences. Imports no jax.

tokenizer.py          bytes, or a Hugging Face tokenizer; tokenizer_loading.py finds its files
gguf_tokenizer.py     the tokenizer inside of a GGUF file
token_bytes.py        the bytes of every token
chat_template.py      a chat model's template; special_tokens.py: tokens beyond the model's rows
prompts.py            questions, hints and worked examples as token ids
packing.py            examples of different lengths in sequences of one length
problems.py           what a run trains on, holds out and tests on
"""
