import subprocess
import sys

_SCRIPT = """
import sys, latentcache.loader as loader
assert "torch" not in sys.modules, "naming the package loads torch"
loader.LatentLoader
heavy = ("ray", "av", "diffusers", "PIL", "latentcache.decode", "latentcache.encoders")
print([name for name in heavy if name in sys.modules])
"""


def test_a_training_node_needs_no_media_encoder_or_cluster() -> None:
    command = [sys.executable, "-c", _SCRIPT]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
