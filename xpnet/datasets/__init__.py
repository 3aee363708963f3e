"""Data sets: the bundled MNIST, folders of IDX files or pictures, CSV and `.npz` files, your own arrays."""

from xpnet.datasets.dataset import Dataset
from xpnet.datasets.encoding import Encoding
from xpnet.datasets.folder import idx_folder
from xpnet.datasets.mnist import mnist
from xpnet.datasets.npz import npz_file, npz_parts
from xpnet.datasets.parts import image_parts
from xpnet.datasets.pictures import image_folder
from xpnet.datasets.splitting import shuffled, split
from xpnet.datasets.table import csv_file

__all__ = [
    "Dataset",
    "Encoding",
    "csv_file",
    "idx_folder",
    "image_folder",
    "image_parts",
    "mnist",
    "npz_file",
    "npz_parts",
    "shuffled",
    "split",
]
