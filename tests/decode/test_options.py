"""What may be set is checked, hashed by value, and cheap to import."""

import subprocess
import sys

import pytest

from latentcache.core.fingerprint import fingerprint
from latentcache.decode import ImageLimits, ImageTransform


def test_importing_the_package_loads_no_codec() -> None:
    program = (
        "import sys, latentcache.decode\n"
        "heavy = {'PIL', 'numpy', 'torch', 'av'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "from latentcache.decode import decode_image\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run((sys.executable, "-c", program), check=True, timeout=60)


def test_what_changes_pixels_changes_the_fingerprint() -> None:
    transforms = [
        ImageTransform(),
        ImageTransform(background=(0, 0, 0)),
        ImageTransform(reducing_gap=3.0),
    ]
    assert len({fingerprint(transform.identity()) for transform in transforms}) == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"background": (0, 0)}, "three numbers"),
        ({"background": (0, 0, 256)}, "0 to 255"),
        ({"reducing_gap": 0.5}, "at least 1"),
        ({"version": 99}, "version must be 2"),
    ],
)
def test_wrong_transforms_are_refused(options, words) -> None:
    with pytest.raises(ValueError, match=words):
        ImageTransform(**options)


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="max_pixels must be at least 1"):
        ImageLimits(max_pixels=0)
