"""What Numba compiles; to import a module of this package is to import Numba.

A start at which all machine code is found on disk does without: see `lazy` and `machine_code`.
"""
