"""Labelled images: the bundled MNIST, folders of IDX files, and your own arrays."""

from xpnet.datasets.dataset import Dataset
from xpnet.datasets.folder import idx_folder
from xpnet.datasets.mnist import mnist

__all__ = ["Dataset", "idx_folder", "mnist"]
