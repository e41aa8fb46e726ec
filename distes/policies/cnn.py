"""The convolutional policy for Atari (Mnih et al. 2015, doi:10.1038/nature14236; the same trunk in Uber's GA paper)."""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from distes.errors import ConfigurationError
from distes.policies.base import scaled_
from distes.policies.initial import Initial, initialize_
from distes.policies.virtual_batch_norm import VirtualBatchNorm, is_virtual


class CNN(nn.Module):
    """Convolutions and linear layers, by default three and two, with 1.7 million parameters on 84 x 84 x 4.

    Uber's network of 4 million parameters is `padding: same` with the defaults. Their network for OpenAI-ES, and that
    of the paper, is `channels: [16, 32], kernels: [8, 4], strides: [4, 2], hidden_size: 256, padding: same,
    normalization: virtual_batch`.
    """

    def __init__(
        self,
        observation_shape: tuple[int, ...],
        action_size: int,
        *,
        channels: Sequence[int] = (32, 64, 64),
        kernels: Sequence[int] = (8, 4, 3),
        strides: Sequence[int] = (4, 2, 1),
        hidden_size: int | None = 512,
        output_scale: float = 0.1,
        padding: Literal["valid", "same"] = "valid",
        normalization: Literal["none", "virtual_batch"] = "none",
        init: Initial = "torch",
    ) -> None:
        """Builds the layers.

        Args:
            observation_shape: (channels, height, width), as the task gives images.
            action_size: Numbers the task wants.
            channels: Output channels of each convolution.
            kernels: Side of each convolution's square kernel.
            strides: Stride of each convolution.
            hidden_size: Units between the convolutions and the output; null for no such layer.
            output_scale: Factor on the last layer's initial weights.
            padding: `valid` is none; `same` is TensorFlow's: zeros around the image, so that an output has one side's
                length divided by the stride, rounded up.
            normalization: Before each activation: `none`, or `virtual_batch` normalisation, which takes the place of
                the layer's bias.
            init: Initial parameters: those of `torch`; `normc`, Gaussian weights of norm 1 for each unit, and biases of
                0; or `zero`.
        """
        super().__init__()
        if len(observation_shape) != 3:
            raise ConfigurationError(
                f"CNN needs images, observations of shape (channels, height, width); the task gives "
                f"{tuple(observation_shape)}. Use MLP, or wrappers that make images."
            )
        if not len(channels) == len(kernels) == len(strides):
            raise ConfigurationError(
                f"channels, kernels and strides must be of one length; got {len(channels)}, {len(kernels)} and "
                f"{len(strides)}."
            )
        if padding not in ("valid", "same"):
            raise ConfigurationError(f"padding must be 'valid' or 'same'; got {padding!r}.", argument="padding")
        virtual = is_virtual(normalization)
        depth, height, width = observation_shape
        layers: list[nn.Module] = []
        for out, kernel, stride in zip(channels, kernels, strides, strict=True):
            if padding == "same":
                tall, wide = _same(height, kernel, stride), _same(width, kernel, stride)
                layers += [nn.ZeroPad2d((*wide, *tall))] if any((*wide, *tall)) else []
                height, width = height + sum(tall), width + sum(wide)
            height, width = (height - kernel) // stride + 1, (width - kernel) // stride + 1
            if min(height, width) < 1:
                raise ConfigurationError(f"Images of {tuple(observation_shape)} are too small for kernels {kernels}.")
            layers.append(nn.Conv2d(depth, out, kernel, stride, bias=not virtual))
            layers += [VirtualBatchNorm(out), nn.ReLU()] if virtual else [nn.ReLU()]
            depth = out
        layers.append(nn.Flatten())
        size = depth * height * width
        if hidden_size is not None:
            layers.append(nn.Linear(size, hidden_size, bias=not virtual))
            layers += [VirtualBatchNorm(hidden_size), nn.ReLU()] if virtual else [nn.ReLU()]
            size = hidden_size
        output = nn.Linear(size, action_size)
        self.layers = nn.Sequential(*layers, output)
        initialize_(self, init)
        scaled_(output, output_scale)

    def forward(self, observation: Tensor) -> Tensor:
        """Maps (rows, C, H, W) to (rows, A)."""
        output: Tensor = self.layers(observation)
        return output


def _same(side: int, kernel: int, stride: int) -> tuple[int, int]:
    """The zeros before and after a side, as TensorFlow's padding `same` has them: the odd one comes after."""
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2
