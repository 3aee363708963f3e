"""What the CUDA files hold: their kernels, and the activations and rules that these are templates of.

This is read from their text, once, so that an activation or a rule needs no other entry in this package.
"""

from __future__ import annotations

import functools
import itertools
import pathlib
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy

from xpnet import nn

FILES = (
    "kernels.cu",
    "losses.cu",
    "products.cu",
    "convolution.cu",
    "pooling.cu",
    "normalisation.cu",
    "batch_normalisation.cu",
    "synchronised.cu",
    "augmentation.cu",
    "collective.cu",
)
"""The files, in order: each may use what is in those before it."""

CODE = "\n".join(pathlib.Path(__file__).with_name(name).read_text(encoding="utf-8") for name in FILES)

KERNELS: dict[str, tuple[str, ...]] = {
    name: tuple(re.findall(r"(?:typename|class) (\w+)", parameters))
    for parameters, name in re.findall(r"template <(.+)>\s+__global__ void (\w+)\(", CODE)
}
"""The template parameters of each kernel, by its name."""

_STRUCTS = re.findall(r"^struct (\w+) \{", CODE, re.M)
_FIELDS = {
    name: [
        (field.strip(" *"), "pointer" if "*" in field else kind)
        for kind, line in re.findall(r"^    (?:const )?(T|Number<T>)([^;]+);", body, re.M)
        for field in line.split(", ")
    ]
    for name, body in re.findall(r"^template <typename T> struct (\w+) \{(.*?)__device__", CODE, re.M | re.S)
}
"""The fields of each struct that is a rule, in order, and whether each is a pointer, a T or a Number<T>."""


def _with_structs(functions: Iterable[nn.Function], structs: Collection[str]) -> dict[Any, str]:
    """Return the structs of functions, by name: ``"Relu"`` for ``"relu"``, ``"Sgd"`` for ``"sgd_step"``."""
    pairs = [(f.name, f.name.removesuffix("_step").title().replace("_", "")) for f in functions]
    return {name: struct for name, struct in pairs if struct in structs}


ACTIVATIONS: dict[str | None, str] = {
    None: "Identity",
    **_with_structs([f for f in nn.FUNCTIONS.values() if f.is_activation], _STRUCTS),
}
"""The structs of activations of `nn`, by name; None is the one that changes nothing."""

GRADIENTS: dict[str, str] = {str(nn.FUNCTIONS[name].gradient): name for name in ACTIVATIONS if name}
"""These activations, by the names of their gradients."""

RULES: dict[str | None, str] = {
    None: "Store",
    **_with_structs([f for f in nn.FUNCTIONS.values() if f.is_step], _FIELDS),
}
"""The structs of steps of `nn`, by name; None is the rule that stores the gradient."""

_FLOATS = {numpy.dtype("float32"): "float", numpy.dtype("float64"): "double"}
_INTEGERS = {numpy.dtype("int32"): "int", numpy.dtype("int64"): "Index"}
_CHOICES: dict[str, Mapping[Any, str]] = {
    "T": _FLOATS,
    "S": {numpy.dtype("uint8"): "unsigned char", **_FLOATS},
    "I": _INTEGERS,
    "N": {**_INTEGERS, **_FLOATS},
    "F": ACTIVATIONS,
    "Rule": RULES,
}


@functools.cache
def symbol(kernel: str, **made_for: object) -> str:
    """Return the C++ name of a kernel.

    Parameters
    ----------
    kernel : str
    **made_for : dtype or str or None
        By template parameter: a dtype for `T`, `S`, `I`, `N`; a name of a function, or None, for `F`, `Rule`.

    Raises
    ------
    TypeError
        If the kernel is not made for them.
    """
    keys = [made_for[parameter] for parameter in KERNELS[kernel]]
    try:
        arguments = [_CHOICES[p][key] for p, key in zip(KERNELS[kernel], keys, strict=True)]
    except KeyError:
        found, choices = " and ".join(map(str, keys)), ", ".join(sorted(symbols(kernel)))
        raise TypeError(f"{kernel!r} has no CUDA kernel for {found}: choose among {choices}") from None
    return f"{kernel}<{', '.join(arguments)}>"


def symbols(kernel: str) -> list[str]:
    """Return the C++ names of a kernel for all that it can be made for."""
    choices = [_CHOICES[parameter].values() for parameter in KERNELS[kernel]]
    return [f"{kernel}<{', '.join(arguments)}>" for arguments in itertools.product(*choices)]


@functools.cache
def layout(rule: str | None, dtype: numpy.dtype) -> numpy.dtype:
    """Return the struct of a rule as C++ lays it out; one without fields takes a byte."""
    fields = _FIELDS[RULES[rule]]
    if not fields:
        return numpy.dtype({"names": [], "formats": [], "itemsize": 1})
    number = numpy.dtype([("value", dtype), ("at", "uintp")], align=True)
    types: dict[str, Any] = {"pointer": "uintp", "T": dtype, "Number<T>": number}
    return numpy.dtype([(name, types[kind]) for name, kind in fields], align=True)


def fields(rule: str | None) -> list[tuple[str, str]]:
    """Return the names of the fields of a rule, in order, and their kinds: "pointer", "T" or "Number<T>"."""
    return _FIELDS[RULES[rule]]


def varying(rule: str) -> frozenset[str]:
    """Return the numbers of a rule that may be on the device."""
    return frozenset(name for name, kind in _FIELDS[RULES[rule]] if kind == "Number<T>")
