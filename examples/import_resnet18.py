"""From PyTorch to cycles: ResNet-18, as torchvision builds it, by way of ONNX.

    pip install 'fxsim[onnx]' torch
    python examples/import_resnet18.py

Checks that the imported network has the published multiply-accumulates and parameters, then
prices one training step of it. torchvision itself is not needed; its network is written out here.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import nn

from fxsim.cost import breakdown
from fxsim.cost.model import evaluate_cost
from fxsim.hardware import library
from fxsim.integrations.onnx.import_model import import_model
from fxsim.runs import estimate
from fxsim.terminal.console import print_table
from fxsim.terminal.progress import Progress

# torchvision.models.resnet18: parameters as its page states them, MACs of one 224 x 224 image
PARAMETERS, MACS = 11_689_512, 1_814_073_344


class Block(nn.Module):
    """Two 3 x 3 convolutions and a shortcut. He et al., arXiv 1512.03385, figure 2."""

    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, filters, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.downsample = None
        if stride != 1 or channels != filters:
            projection = nn.Conv2d(channels, filters, 1, stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(filters))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = torch.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return torch.relu(out + (x if self.downsample is None else self.downsample(x)))


def resnet18() -> nn.Module:
    """torchvision's ResNet-18."""
    layers: list[nn.Module] = [
        nn.Conv2d(3, 64, 7, 2, 3, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
    ]
    channels = 64
    for filters, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [Block(channels, filters, stride), Block(filters, filters, 1)]
        channels = filters
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000))


def main() -> None:
    """Export, import, check, price."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accelerator", default="int8_systolic")
    parser.add_argument("--out", type=Path, default=Path("imported"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    model = given.out / "resnet18.onnx"
    # as it trains: batch norms stay layers of their own
    torch.onnx.export(
        resnet18().train(),
        (torch.zeros(1, 3, 224, 224),),
        str(model),
        dynamo=False,
        training=torch.onnx.TrainingMode.TRAINING,
        do_constant_folding=False,
    )
    found = import_model(model, given.out / "resnet18.yaml")
    print(f"{found.layers} layers, {found.parameters:,} parameters, {found.macs:,} MACs")
    assert not found.refused, found.refused
    assert found.parameters == PARAMETERS, found.parameters
    assert found.macs == MACS, found.macs
    print("equal to what torchvision's ResNet-18 has")
    with Progress() as progress:
        trace, label = estimate.trace_of(str(found.workload), "uniform", progress, batch=1)
    cost = evaluate_cost(trace, library.machine(given.accelerator))
    print_table(breakdown.readable(breakdown.breakdown(cost, ["pass"])), label)


if __name__ == "__main__":
    main()
