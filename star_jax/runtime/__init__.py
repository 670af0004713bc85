"""Devices and processes: meshes and shardings, several hosts.

sharding.py     the mesh, and the one table of logical axes
multihost.py    what one process does for all
distributed.py  how the processes of a run find each other
"""
