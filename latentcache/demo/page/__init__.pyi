from .animations import training_strip as training_strip
from .demo_facts import DemoPage as DemoPage
from .demo_facts import KillTest as KillTest
from .demo_facts import Step as Step
from .demo_facts import UnitDigests as UnitDigests
from .demo_page import demo_page as demo_page

__all__ = [
    "DemoPage",
    "KillTest",
    "Step",
    "UnitDigests",
    "demo_page",
    "training_strip",
]
