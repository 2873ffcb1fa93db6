import subprocess
import sys

_HEAVY = ("ray", "av", "diffusers", "PIL", "latentcache.decode", "latentcache.encoders")


def test_a_training_node_needs_no_media_encoder_or_cluster() -> None:
    script = (
        "import sys, latentcache.loader as loader; loader.LatentLoader; "
        f"print([name for name in {_HEAVY!r} if name in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"


def test_naming_the_package_loads_no_torch() -> None:
    script = "import sys, latentcache.loader; print('torch' in sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "False"
