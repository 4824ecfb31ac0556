"""Makes the scripts of pretraining/ importable and keeps torch on one core."""

import sys
from pathlib import Path

import torch

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "pretraining"))
torch.set_num_threads(1)
