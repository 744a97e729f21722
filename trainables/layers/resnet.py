"""The residual network that looks at single pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from torchvision.models.resnet import BasicBlock, Bottleneck


def _block_class(name: str) -> type[BasicBlock] | type[Bottleneck]:
    # torchvision brings torch.compile's machinery along, a second and a half that a trial without pictures is spared.
    from torchvision.models.resnet import BasicBlock, Bottleneck

    return {"basic": BasicBlock, "bottleneck": Bottleneck}[name]


class ResNetBackbone(nn.Module):
    """A ResNet without its classifier (He et al., 2016; torchvision's variant and parameter names).

    Normalised pictures (N, 3, H, W) -> (N, width_out, H / 32, W / 32), rounded up.
    """

    def __init__(self, block: str, depths: tuple[int, ...], width: int) -> None:
        super().__init__()
        block_class = _block_class(block)
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        channels = width
        for stage, depth in enumerate(depths):
            planes = width << stage
            blocks: list[nn.Module] = []
            for index in range(depth):
                stride = 2 if stage > 0 and index == 0 else 1
                out = planes * block_class.expansion
                shortcut: nn.Module | None = None
                if stride != 1 or channels != out:
                    shortcut = nn.Sequential(
                        nn.Conv2d(channels, out, 1, stride=stride, bias=False), nn.BatchNorm2d(out)
                    )
                blocks.append(block_class(channels, planes, stride, shortcut))
                channels = out
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.width_out = channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential

    def forward(self, pictures: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(pictures))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))
