#!/usr/bin/env bash
# accelerate 1.15.0: leaving one prepared loader by `break` changes what the others, and the next epoch, do.
#
# A prepared loader notes at the START of a loop that it is the active one, and that the epoch is over at
# the END of it; a loop that is left by `break` (or by an exception) never comes to the second. Two
# things follow, both silent.
# (1) A validation loop of a few batches, left by break inside the training loop, stays the active loader
# for ever. The last batch of an epoch no longer makes `accumulate` step the optimizer: the gradients of
# the odd batches run on into the next epoch and are stepped with other data, divided by the full number.
# (2) With use_seedable_sampler=True an epoch that is left by break (a fixed number of steps an epoch)
# has not been counted: every epoch has the same order, and so every epoch is trained on the same first
# batches; the rest of the data is never seen.
# For whom it matters: `limit validation batches` and `max steps per epoch` written as a break.
# What helps: validate after the training loop or on a Subset, read to its end; `loader.set_epoch(epoch)` in
# front of every epoch (shown below). An open pull request (4248) mends the first of the two.
#
# Versions: accelerate 1.15.0, torch 2.13.0. Exits non-zero if the behaviour is another one.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install "accelerate==1.15.0" "torch==2.13.0" "numpy==2.4.6"
cat > "$work/show.py" <<'PY'
import sys
import warnings

warnings.simplefilter("ignore")

import accelerate
import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, set_seed
from torch.utils.data import DataLoader

config = DataLoaderConfiguration(use_seedable_sampler=True)
accelerator = Accelerator(cpu=True, gradient_accumulation_steps=4, dataloader_config=config)


def loaders():
    """A training loader of six batches and one of validation, prepared."""
    set_seed(0)
    training = DataLoader(range(12), batch_size=2, shuffle=True)
    return accelerator.prepare(training, DataLoader(range(10), batch_size=2))


def stepped(*, leaves):
    """After which batches of two epochs the optimizer is stepped, validating after the third."""
    model = torch.nn.Linear(1, 1)
    training, validation = loaders()
    epochs = []
    for _ in range(2):
        steps = []
        for number, _batch in enumerate(training, 1):
            with accelerator.accumulate(model):
                if accelerator.sync_gradients:
                    steps.append(number)
            if number == 3:
                for _ in validation:
                    if leaves:
                        break
        epochs.append(steps)
    return epochs


def seen(*, told):
    """The samples of the first two batches of three epochs, each left after them."""
    training, _ = loaders()
    epochs = []
    for epoch in range(3):
        if told:
            training.set_epoch(epoch)
        samples = []
        for number, batch in enumerate(training):
            if number == 2:
                break
            samples += batch.tolist()
        epochs.append(samples)
    return epochs


print("accelerate", accelerate.__version__, "torch", torch.__version__)
# The loops that are left come last: what they change lasts as long as the process.
whole = stepped(leaves=False)
print("validation read to its end: steps after batches", *whole)
told = seen(told=True)
print("epochs left by break, set_epoch called:", *told)
untold = seen(told=False)
print("epochs left by break, not called:      ", *untold)
left = stepped(leaves=True)
print("validation left by break:   steps after batches", *left)
same = all(samples == untold[0] for samples in untold)
differ = told[0] != told[1] and told[1] != told[2]
sys.exit(whole != [[4, 6], [4, 6]] or 6 in left[0] or not same or not differ)
PY
"$work/venv/bin/python" "$work/show.py"
