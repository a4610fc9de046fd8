from __future__ import annotations

import numpy as np
import pytest

from vqkit.errors import DataError
from vqkit.image_io.values import channel_axis, channel_names, tensor_of


def test_arrays_that_are_read_only_or_not_contiguous_become_tensors() -> None:
    array = np.arange(12, dtype=np.uint16).reshape(3, 4)
    array.flags.writeable = False
    for each in (array, array.T, np.broadcast_to(array, (2, 3, 4))):
        assert np.array_equal(tensor_of(each).numpy(), each)
    own = np.arange(3)
    tensor_of(own)[0] = 7
    assert own[0] == 7, "memory is shared where it can be"


def test_the_shorter_outer_axis_counts_channels() -> None:
    assert channel_axis((3, 32, 32), "x") == 0
    assert channel_axis((32, 32, 3), "x") == -1
    with pytest.raises(DataError, match="x is 8 x 64 x 8"):
        channel_axis((8, 64, 8), "x")


def test_channels_have_names() -> None:
    assert channel_names(1) == ("grey",)
    assert channel_names(3) == ("r", "g", "b")
    assert channel_names(2) == ("channel_1", "channel_2")
