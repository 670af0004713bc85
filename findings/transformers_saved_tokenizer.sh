#!/bin/bash
# A tokenizer that transformers 5.24.0 saves cannot be opened by transformers 4.57.6.
#
# Surprising, because save_pretrained is how tokenizers are passed on, and neither side says that
# versions differ: 5 names the class "TokenizersBackend", which 4 does not have, and writes
# extra_special_tokens as a list, where 4 takes a mapping of names; what 4 says then is about
# protobuf. It also keeps is_local and local_files_only, which are of how the tokenizer was opened.
#
# Our users meet it where an export is opened by whatever has transformers 4 pinned (servers,
# evaluation harnesses). star_jax writes "PreTrainedTokenizerFast" and additional_special_tokens,
# which both open.
#
# Exits 0 if all of this is still so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python=${PYTHON:-python3}
for version in 5.24.0 4.57.6; do
  "$python" -m venv "$work/$version"
  "$work/$version/bin/pip" install --quiet --disable-pip-version-check "transformers==$version" jinja2 2>/dev/null
done
cat > "$work/save.py" <<'PY'
import pathlib, sys
import tokenizers, transformers

plain, folder = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
made = tokenizers.Tokenizer(tokenizers.models.BPE(vocab={"a": 0, "</s>": 1, "<x>": 2}, merges=[]))
made.add_special_tokens(["</s>", "<x>"])
transformers.PreTrainedTokenizerFast(
    tokenizer_object=made, eos_token="</s>", additional_special_tokens=["<x>"]
).save_pretrained(plain)
opened = transformers.PreTrainedTokenizerFast.from_pretrained(plain, local_files_only=True)
opened.save_pretrained(folder)
print(transformers.__version__, "saved", (folder / "tokenizer_config.json").read_text())
PY
cat > "$work/open.py" <<'PY'
import json, pathlib, sys
import transformers

folder = pathlib.Path(sys.argv[1])
path = folder / "tokenizer_config.json"
said = json.loads(path.read_text())


def attempt(what, values):
    path.write_text(json.dumps(values))
    try:
        ids = transformers.AutoTokenizer.from_pretrained(folder)("a<x>").input_ids
        print(transformers.__version__, what, "->", ids)
        return True
    except Exception as error:
        print(transformers.__version__, what, "->", type(error).__name__, str(error).strip()[:120])
        return False


as_saved = attempt("as saved", said)
said["tokenizer_class"] = "PreTrainedTokenizerFast"
with_class = attempt("with a class that it has", said)
said["additional_special_tokens"] = said.pop("extra_special_tokens")
with_list = attempt("with additional_special_tokens", said)
sys.exit(0 if (as_saved, with_class, with_list) == (False, False, True) else 1)
PY
export TRANSFORMERS_NO_ADVISORY_WARNINGS=1
"$work/5.24.0/bin/python" "$work/save.py" "$work/plain" "$work/saved"
"$work/4.57.6/bin/python" "$work/open.py" "$work/saved"
