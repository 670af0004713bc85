#!/usr/bin/env bash
# transformers 5.24.0 makes a tokenizer of a Llama GGUF that gives other ids than the model was trained with.
#
# What: `AutoTokenizer.from_pretrained(folder, gguf_file=...)` of a SentencePiece vocabulary (Llama 2, and what descends
# from it) takes a space at the start of a text for the one that the tokenizer puts there: " Hello world" loses a token.
# Of Llama 3's vocabulary it merges words that are tokens already (the original's ignore_merges is lost).
# Why it surprises: the file is right, llama.cpp gives the original's ids from it, and nothing warns.
# What users meet: texts that begin with a space, as a completion of a prompt often does, are other tokens than those
# of the model's original; fine-tuned on them, it learns to continue what nobody else will give it.
#
# Vocabularies and truth are llama.cpp's own, which the source package of llama-cpp-python holds: a GGUF without weights,
# texts (.inp), and the ids that the models' original tokenizers gave for them (.out). Nothing of it is built.
# Exit status 0: the behaviour is as described; 1: it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    transformers==5.24.0 gguf==0.19.0 torch==2.13.0   # reading a GGUF imports torch, even for a tokenizer
"$folder/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --no-binary=:all: \
    --dest "$folder" llama-cpp-python==0.3.36
tar -xzf "$folder"/llama_cpp_python-0.3.36.tar.gz -C "$folder" --strip-components=4 --wildcards \
    '*/vendor/llama.cpp/models/ggml-vocab-llama-*'
cat > "$folder/show.py" <<'PYTHON'
import sys

import transformers

folder, as_described = sys.argv[1], True
for name, at_least in (("llama-spm", 10), ("llama-bpe", 1)):
    file = f"ggml-vocab-{name}.gguf"
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=file)
    texts = open(f"{folder}/{file}.inp", encoding="utf-8").read().split("\n__ggml_vocab_test__\n")
    truth = [[int(id_) for id_ in line.split()] for line in open(f"{folder}/{file}.out")]
    differ = [
        (text, tokenizer.convert_ids_to_tokens(ids), tokenizer.convert_ids_to_tokens(found))
        for text, ids in zip(texts, truth)
        if (found := tokenizer(text, add_special_tokens=False).input_ids) != ids
    ]
    print(f"transformers {transformers.__version__}, {file}: {len(differ)} of {len(truth)} texts differ")
    for text, ids, found in differ[:6]:
        print(f"  {text!r}\n    original     {ids[:10]}\n    transformers {found[:10]}")
    as_described = as_described and len(differ) >= at_least
print("as described" if as_described else "the behaviour has changed")
sys.exit(not as_described)
PYTHON
"$folder/venv/bin/python" "$folder/show.py" "$folder"
