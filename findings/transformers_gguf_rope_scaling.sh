#!/usr/bin/env bash
# transformers 5.24.0 reads a GGUF file without its rope scaling.
#
# What: `AutoConfig.from_pretrained(folder, gguf_file=...)` ignores the keys <architecture>.rope.scaling.type and
# .factor, which llama.cpp's converter writes for every model with linear rope scaling. `rope_parameters` come out as
# "default", and the model is computed with them; nothing is said.
# Why it surprises: Gemma 3 of 4B, 12B and 27B have factor 8 in their full-attention layers. Opened from its Hugging
# Face folder and from a GGUF of the same weights, one model gives two different logits; llama.cpp agrees with the folder.
# What users meet: other, worse text from the same weights, and neither error nor warning.
#
# The file made here holds the metadata of gemma-3-4b alone, by the gguf package's own writer; the config is enough to
# see it. Exit status 0: the behaviour is as described; 1: it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    transformers==5.24.0 gguf==0.19.0 torch==2.13.0   # reading a GGUF imports torch, even for a config
cat > "$folder/show.py" <<'PYTHON'
import sys

import gguf
import transformers

folder = sys.argv[1]
scaled = {}
for architecture in ("gemma3", "llama"):
    path = f"{folder}/{architecture}.gguf"
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(131072)
    writer.add_embedding_length(2560)
    writer.add_block_count(6)
    writer.add_feed_forward_length(10240)
    writer.add_head_count(8)
    writer.add_head_count_kv(4)
    writer.add_key_length(256)
    writer.add_value_length(256)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1e6)
    if architecture == "gemma3":
        writer.add_sliding_window(1024)
    writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
    writer.add_rope_scaling_factor(8.0)
    writer.add_token_list(["a", "b"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    fields = gguf.GGUFReader(path).fields
    said = {key: field.contents() for key, field in fields.items() if "rope" in key}
    config = transformers.AutoConfig.from_pretrained(folder, gguf_file=f"{architecture}.gguf")
    print(f"the file says       {said}")
    print(f"transformers {transformers.__version__} {config.rope_parameters}")
    scaled[architecture] = "linear" in str(config.rope_parameters)
print("the scaling is", "read: the behaviour has changed" if any(scaled.values()) else "lost")
sys.exit(any(scaled.values()))
PYTHON
"$folder/venv/bin/python" "$folder/show.py" "$folder"
