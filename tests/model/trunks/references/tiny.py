"""Write tiny_older.pth and tiny_zipped.pth: a checkpoint in both formats of `torch.save`.

pip install torch
python tests/model/trunks/references/tiny.py
"""

from __future__ import annotations

from pathlib import Path


def main() -> None:
    import torch

    kernel = torch.arange(6.0).reshape(2, 3)
    state = {
        "module.kernel": torch.nn.Parameter(kernel),
        "module.turned": kernel.t(),
        "module.half": torch.tensor([0.5, -2.0], dtype=torch.float16),
        "module.count": torch.tensor(7),
    }
    optimizer = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1}]}
    checkpoint = {"epoch": 3, "best": None, "state_dict": state, "optimizer": optimizer}
    for name, newer in (("older", False), ("zipped", True)):
        path = Path(__file__).with_name(f"tiny_{name}.pth")
        torch.save(checkpoint, path, _use_new_zipfile_serialization=newer)


if __name__ == "__main__":
    main()
