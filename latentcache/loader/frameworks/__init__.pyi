from .lightning import WholeSteps as WholeSteps
from .transformers import FromLatents as FromLatents

__all__ = ["FromLatents", "WholeSteps"]
