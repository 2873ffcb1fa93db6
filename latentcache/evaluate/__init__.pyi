from .clip_picture import contact_sheet_png as contact_sheet_png
from .clip_picture import stacked_mp4 as stacked_mp4
from .fidelity import FidelityReport as FidelityReport
from .fidelity import Pixels as Pixels
from .fidelity import mean_of as mean_of
from .fidelity import measure_fidelity as measure_fidelity
from .fidelity import num_compared as num_compared
from .fidelity import psnr_db as psnr_db
from .fidelity import reconstruct as reconstruct
from .picture import side_by_side_png as side_by_side_png
from .planned import PlannedSample as PlannedSample
from .planned import choose_samples as choose_samples
from .planned import find_sample as find_sample
from .planned import read_pixels as read_pixels
from .planned import read_stored as read_stored
from .recorded import as_tensor as as_tensor
from .recorded import decode_batch as decode_batch
from .recorded import first_latent_frames as first_latent_frames
from .recorded import load_recorded_encoder as load_recorded_encoder
from .role_pictures import RolePicture as RolePicture
from .role_pictures import role_pictures as role_pictures
from .same_samples import find_samples as find_samples

__all__ = [
    "FidelityReport",
    "Pixels",
    "PlannedSample",
    "RolePicture",
    "as_tensor",
    "choose_samples",
    "contact_sheet_png",
    "decode_batch",
    "find_sample",
    "find_samples",
    "first_latent_frames",
    "load_recorded_encoder",
    "mean_of",
    "measure_fidelity",
    "num_compared",
    "psnr_db",
    "read_pixels",
    "read_stored",
    "reconstruct",
    "role_pictures",
    "side_by_side_png",
    "stacked_mp4",
]
