"""Everything that Numba compiles. Importing a module of this package imports Numba.

A start that finds all machine code on disk does not: see `lazy` and `machine_code`.

The kernel of a function of `nn` has its name, and is in the module that is named like its twin's.
"""
