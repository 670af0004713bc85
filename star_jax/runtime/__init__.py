"""Devices and processes: meshes, shardings, compiled programs, several hosts.

sharding.py     the mesh, and the one table of logical axes
compile.py      compiles programs ahead of time; the one jax.jit
multihost.py    the roles of processes: primary, barriers, shared results
distributed.py  starts a run of several processes and ends it
"""
