"""Files: whole or absent, local or in a bucket.

files.py       atomic writes; run_dir.py: what a run's folder holds; versions.py: who has written it
checkpoint.py  arrays by name, with Orbax
hub.py         downloads; gguf_header.py: names and sizes inside a GGUF file
"""
