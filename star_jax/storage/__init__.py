"""Files on local disks and in buckets: each is written whole or not at all.

files.py       atomic writes; json_lines.py: records that are read and checked
run_dir.py     a run's folder; versions.py: versions that wrote it
checkpoint.py  arrays by name, with Orbax
hub.py         downloads; gguf_header.py: metadata and tensor table of a GGUF file
"""
