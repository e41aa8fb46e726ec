"""What all tests share."""

import torch
from hypothesis import settings

# A machine that is busy with other things is no reason to fail.
settings.register_profile("distes", deadline=None)
settings.load_profile("distes")

torch.set_num_threads(1)  # as in every worker; the serial pool does the same to the process it runs in
