"""``xpnet export``: a saved model as an ONNX file."""

from __future__ import annotations

import pathlib
from typing import Any

import click

import xpnet
from xpnet.cli.models import MODEL
from xpnet.cli.options import image_size, output_path, set_aside
from xpnet.errors import shortened
from xpnet.files import write_whole
from xpnet.models import check_params

_FLOATS = "float32", "float64"


@click.command()
@MODEL
@click.argument("file", metavar="[MODEL.onnx]", required=False, type=output_path, callback=set_aside)
@click.option(
    "--opset",
    type=click.IntRange(min=1),
    default=17,
    show_default=True,
    metavar="N",
    help="The operator set, 17 or newer. 17 is read by onnxruntime since 1.12.",
)
@click.option(
    "--dtype", type=click.Choice(_FLOATS), help="Of parameters and arithmetic. [default: as trained]"
)
@click.option(
    "--input-dtype",
    type=click.Choice(["uint8", *_FLOATS]),
    help="Of the inputs. Pixels of uint8 are scaled; floats are taken as they are. [default: that of the "
    "training data]",
)
@click.option(
    "--size",
    type=image_size,
    metavar="H,W",
    help="Height and width of the images. [default: those of the training images]",
)
def export(
    model: pathlib.Path,
    file: pathlib.Path | None,
    opset: int,
    dtype: str | None,
    input_dtype: str | None,
    size: tuple[int, int] | None,
) -> None:
    """Write a saved MODEL as an ONNX file, for onnxruntime and other programs.

    Without MODEL.onnx, the file is beside MODEL, with the suffix .onnx. The ONNX model takes what the
    training data were, for example uint8 pixels, which it scales itself; the channels of images are last. It
    gives the predicted class as `label`, `probabilities` of all classes, and `outputs` of the last layer; a
    model that predicts values gives only `outputs`. Names of classes and of columns are in its metadata.
    """
    from xpnet.onnx.model import described, to_bytes  # late, because other commands must not pay for these
    from xpnet.onnx.runtime import refusal

    run = xpnet.load(model, xpnet.backend("numpy"))
    target = output_path(f"{str(model).removesuffix('.safetensors')}.onnx") if file is None else file
    if target.resolve() == model.resolve():
        raise click.UsageError(f"{str(target)!r} is the model itself; name another file for ONNX")
    made = xpnet.onnx.to_model(
        run, opset=opset, dtype=dtype, input_dtype=input_dtype, shape=_shape(run, size)
    )
    data = to_bytes(made)
    write_whole(target, data)
    click.echo(f"wrote {target}: {described(made)}; {len(data):,} bytes")
    reason = refusal(made)
    if reason:
        dtype = dtype or check_params(run.xp, run.model, run.params)
        advice = "" if dtype == "float32" else "; it knows more operators in float32, see `--dtype`"
        click.echo(f"note: {shortened(reason, 200)}{advice}")


def _shape(run: xpnet.Run, size: tuple[int, int] | None) -> Any:
    """Return the shape of an image of this size, with channels if the training images had them."""
    known = None if run.inputs is None else run.inputs.stored_shape
    return None if size is None else (*size, *(known or ())[2:])
