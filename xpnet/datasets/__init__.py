"""Labelled images: the bundled MNIST, folders of IDX files or pictures, and your own arrays."""

from xpnet.datasets.dataset import Dataset
from xpnet.datasets.folder import idx_folder
from xpnet.datasets.mnist import mnist
from xpnet.datasets.parts import image_parts
from xpnet.datasets.pictures import image_folder
from xpnet.datasets.splitting import shuffled, split

__all__ = ["Dataset", "idx_folder", "image_folder", "image_parts", "mnist", "shuffled", "split"]
