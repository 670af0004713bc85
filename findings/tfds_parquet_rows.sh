#!/usr/bin/env bash
# TensorFlow Datasets 4.9.10 loses examples as it writes a data set as Parquet.
#
# A builder with file_format="parquet" writes batches of 100 examples, and takes each batch off an
# iterator with itertools.islice(iterator, i, i + 100), where i grows by 100: before every batch but
# the first, i examples are thrown away. Of the 1,000 examples of a file 400 are written.
# dataset_info.json and builder.info say that all are there; reading them gives no error.
#
# Why it surprises: num_examples and the files disagree, and nothing says so. Up to 100 examples a
# file all is well, so a small test passes.
# What users meet: a training or test set of a fraction of its rows, and an accuracy on that.
# The format array_record, which needs no TensorFlow either, keeps all of them.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  tensorflow-datasets==4.9.10 importlib-resources
"$folder/venv/bin/python" - "$folder" 2>"$folder/log" <<'PYTHON' || { tail -3 "$folder/log"; exit 1; }
import contextlib, io, sys

import tensorflow_datasets as tfds


class Toy(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    VERSION = tfds.core.Version("1.0.0")
    examples = 0

    def _info(self):
        features = tfds.features.FeaturesDict({"question": tfds.features.Text()})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for i in range(self.examples):
            yield i, {"question": f"{i}?"}


found = {}
for form in ("parquet", "array_record"):
    for Toy.examples in (100, 150, 1000):
        builder = Toy(data_dir=f"{sys.argv[1]}/{form}{Toy.examples}", file_format=form)
        with contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare()
        rows = builder.as_data_source(split="train")
        said = builder.info.splits["train"].num_examples
        found[form, Toy.examples] = said, len({row["question"] for row in rows})
print("tensorflow-datasets", tfds.__version__)
for (form, examples), (said, read) in found.items():
    print(f"{form:13} written {examples:5}, dataset_info says {said:5}, read {read:5}")
expected = {("parquet", 100): 100, ("parquet", 150): 100, ("parquet", 1000): 400}
expected |= {("array_record", n): n for n in (100, 150, 1000)}
if found != {(form, n): (n, read) for (form, n), read in expected.items()}:
    sys.exit("the behaviour has changed")
PYTHON
