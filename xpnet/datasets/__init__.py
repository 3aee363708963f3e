"""Labelled images: the bundled MNIST, folders of IDX files, and arrays of one's own."""

from xpnet.datasets.dataset import Dataset
from xpnet.datasets.folder import idx_folder
from xpnet.datasets.mnist import mnist

__all__ = ["Dataset", "idx_folder", "mnist"]
