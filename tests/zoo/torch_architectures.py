# SPDX-License-Identifier: Apache-2.0
"""Small PyTorch modules of every kind that people train, with arguments and answers in every form."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


class Mlp(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(8, 16), nn.ReLU(), nn.BatchNorm1d(16), nn.Dropout(), nn.Linear(16, 3))


class ConvNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 8, 3), nn.ReLU())
        self.head = nn.Linear(8 * 4 * 4, 10)

    def forward(self, pixels):
        return self.head(self.features(pixels).flatten(1)).log_softmax(1)


class ResidualBlock(nn.Module):
    def __init__(self, channels, stride=1):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels * stride, 3, stride, 1, bias=False),
            nn.BatchNorm2d(channels * stride),
            nn.ReLU(),
            nn.Conv2d(channels * stride, channels * stride, 3, 1, 1, bias=False),
            nn.BatchNorm2d(channels * stride),
        )
        self.shortcut = nn.Identity() if stride == 1 else nn.Conv2d(channels, channels * stride, 1, stride, bias=False)

    def forward(self, values):
        return (self.body(values) + self.shortcut(values)).relu()


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 7, 2, 3)
        self.blocks = nn.Sequential(ResidualBlock(8), ResidualBlock(8, 2), ResidualBlock(16, 2))
        self.head = nn.Linear(32, 5)

    def forward(self, pixels):
        return self.head(functional.adaptive_avg_pool2d(self.blocks(self.stem(pixels)), 1).flatten(1))


class SqueezeExcite(nn.Module):
    """A mobile block: depthwise, squeeze and excitation, hard swish."""

    def __init__(self):
        super().__init__()
        self.expand, self.depthwise = nn.Conv2d(3, 12, 1), nn.Conv2d(12, 12, 3, 1, 1, groups=12)
        self.squeeze = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(12, 3, 1), nn.SiLU(), nn.Conv2d(3, 12, 1))
        self.head = nn.Linear(12, 4)

    def forward(self, pixels):
        values = functional.hardswish(self.depthwise(self.expand(pixels)))
        return self.head((values * self.squeeze(values).sigmoid()).mean((2, 3)))


class ConvNext(nn.Module):
    def __init__(self):
        super().__init__()
        self.patches, self.mix = nn.Conv2d(3, 8, 4, 4), nn.Conv2d(8, 8, 7, padding=3, groups=8)
        self.norm, self.wide, self.narrow = nn.LayerNorm(8), nn.Linear(8, 32), nn.Linear(32, 8)
        self.scale = nn.Parameter(torch.full((8,), 0.1))

    def forward(self, pixels):
        values = self.patches(pixels)
        mixed = self.norm(self.mix(values).permute(0, 2, 3, 1))
        return values + (self.scale * self.narrow(functional.gelu(self.wide(mixed)))).permute(0, 3, 1, 2)


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down1, self.down2 = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1)
        self.up, self.head = nn.ConvTranspose2d(8, 4, 2, 2), nn.Conv2d(8, 2, 1)

    def forward(self, image):
        fine = self.down1(image).relu()
        coarse = self.down2(functional.max_pool2d(fine, 2)).relu()
        return {"mask": self.head(torch.cat([fine, self.up(coarse)], 1)).sigmoid()}


class Upsampler(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.PixelShuffle(2), nn.PReLU())

    def forward(self, image):
        return self.body(image) + functional.interpolate(image, scale_factor=2, mode="bilinear", align_corners=False)


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.ConvTranspose2d(6, 8, 4), nn.InstanceNorm2d(8), nn.LeakyReLU(0.2), nn.ConvTranspose2d(8, 3, 4, 2, 1)
        )

    def forward(self, noise):
        return self.body(noise[:, :, None, None]).tanh()


class Vae(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(12, 8), nn.Linear(4, 12)

    def forward(self, values):
        mean, log_variance = self.encoder(values).chunk(2, -1)
        latent = mean + torch.randn_like(mean) * (log_variance / 2).exp() if self.training else mean
        return {"reconstruction": self.decoder(latent).sigmoid(), "posterior": (mean, log_variance)}


class LstmClassifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(30, 8, padding_idx=0)
        self.lstm, self.head = nn.LSTM(8, 6, num_layers=2, batch_first=True), nn.Linear(6, 3)

    def forward(self, tokens):
        return self.head(self.lstm(self.embedding(tokens))[0][:, -1])


class GruTagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(30, 8)
        self.gru, self.head = nn.GRU(8, 6, batch_first=True, bidirectional=True), nn.Linear(12, 4)

    def forward(self, tokens):
        states, last = self.gru(self.embedding(tokens))
        return {"tags": self.head(states), "summary": last.transpose(0, 1)}


class StatefulLstm(nn.Module):
    """A step of a recurrent model, its state an input and an output, the layer first."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 5, batch_first=True)

    def forward(self, values, hidden, cell):
        return self.lstm(values, (hidden.transpose(0, 1).contiguous(), cell.transpose(0, 1).contiguous()))


class SequenceFirst(nn.Module):
    """What PyTorch's recurrent layers do by default: the first dimension is the time."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.RNN(4, 5)

    def forward(self, values):
        return self.rnn(values)[0]


class UnrolledCells(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.head = nn.GRUCell(4, 6), nn.Linear(6, 2)

    def forward(self, values: Tensor) -> Tensor:
        state = torch.zeros(values.shape[0], 6)
        for step in range(values.shape[1]):
            state = self.cell(values[:, step], state)
        return self.head(state)


class TransformerEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(30, 16)
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, norm_first=True)
        self.encoder, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(16, 3)

    def forward(self, tokens, mask):
        states = self.encoder(self.embedding(tokens), src_key_padding_mask=~mask)
        return self.head((states * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True))


class EncoderDecoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(30, 16), nn.Linear(16, 30)
        self.transformer = nn.Transformer(16, 2, 1, 1, 32, batch_first=True)

    def forward(self, source, target):
        causal = nn.Transformer.generate_square_subsequent_mask(target.shape[1])
        return self.head(self.transformer(self.embedding(source), self.embedding(target), tgt_mask=causal))


class CausalAttention(nn.Module):
    """A decoder block over scaled_dot_product_attention with learned positions."""

    def __init__(self):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(40, 16), nn.Embedding(32, 16)
        self.projection, self.head = nn.Linear(16, 48), nn.Linear(16, 40, bias=False)

    def forward(self, ids):
        states = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
        parts = self.projection(states).view(ids.shape[0], ids.shape[1], 3, 2, 8).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(parts[0], parts[1], parts[2], is_causal=True)
        return self.head(mixed.transpose(1, 2).flatten(2) + states)


class CrossAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, *, query, memory):
        return self.attention(query, memory, memory)


class RotaryAttention(nn.Module):
    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        angles = torch.outer(torch.arange(query.shape[1]), 1 / 100 ** (torch.arange(4) / 4))
        turned = [
            torch.cat(
                [
                    x[..., :4] * angles.cos() - x[..., 4:] * angles.sin(),
                    x[..., :4] * angles.sin() + x[..., 4:] * angles.cos(),
                ],
                -1,
            )
            for x in (query, key)
        ]
        return torch.einsum("bqd,bkd->bqk", *turned).softmax(-1)


class VisionTransformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.patches, self.token = nn.Conv2d(3, 16, 4, 4), nn.Parameter(torch.zeros(1, 1, 16))
        self.positions = nn.Parameter(torch.randn(1, 17, 16))
        self.encoder = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, activation="gelu")
        self.head = nn.Linear(16, 5)

    def forward(self, pixels):
        patches = self.patches(pixels).flatten(2).transpose(1, 2)
        states = torch.cat([self.token.expand(pixels.shape[0], -1, -1), patches], 1) + self.positions
        return self.head(self.encoder(states)[:, 0])


class TwoTower(nn.Module):
    def __init__(self):
        super().__init__()
        self.users, self.items = nn.Embedding(50, 8), nn.Embedding(80, 8)

    def forward(self, user, item):
        left, right = functional.normalize(self.users(user), dim=-1), functional.normalize(self.items(item), dim=-1)
        return {"score": (left * right).sum(-1), "embeddings": {"user": left, "item": right}}


class BagOfWords(nn.Module):
    def __init__(self):
        super().__init__()
        self.bag, self.head = nn.EmbeddingBag(30, 8, mode="mean"), nn.Linear(8, 2)

    def forward(self, words):
        return self.head(self.bag(words))


class WideAndDeep(nn.Module):
    def __init__(self):
        super().__init__()
        self.kinds, self.wide, self.deep = nn.Embedding(9, 4), nn.Linear(5, 1), nn.Linear(9, 1)

    def forward(self, numbers, kind, member, bias=None):
        wide = torch.cat([numbers, member[:, None].float()], 1)
        score = self.wide(wide) + self.deep(torch.cat([wide, self.kinds(kind)], 1))
        return (score if bias is None else score + bias).squeeze(1).sigmoid()


class FactorizationMachine(nn.Module):
    def __init__(self):
        super().__init__()
        self.vectors, self.weights = nn.Embedding(60, 4), nn.Embedding(60, 1)

    def forward(self, fields):
        vectors = self.vectors(fields)
        pairs = vectors.sum(1).pow(2) - vectors.pow(2).sum(1)
        return self.weights(fields).sum((1, 2)) + pairs.sum(1) / 2


class TemporalConvolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv1d(3 if i == 0 else 6, 6, 3, dilation=2**i) for i in range(3))

    def forward(self, series):
        for place, layer in enumerate(self.layers):
            series = layer(functional.pad(series, (2 * 2**place, 0))).relu()
        return series


class WaveGate(nn.Module):
    def __init__(self):
        super().__init__()
        self.filter, self.gate, self.norm = nn.Conv1d(2, 4, 3), nn.Conv1d(2, 4, 3), nn.GroupNorm(2, 4)

    def forward(self, wave):
        return self.norm(self.filter(wave).tanh() * self.gate(wave).sigmoid())


class MixtureOfExperts(nn.Module):
    """The best two of four experts, chosen by torch.where."""

    def __init__(self):
        super().__init__()
        self.router = nn.Linear(6, 4)
        self.experts = nn.ModuleList(nn.Linear(6, 3) for _ in range(4))

    def forward(self, values):
        scores = self.router(values)
        least = scores.topk(2, -1).values[:, -1:]
        gates = torch.where(scores >= least, scores, torch.full_like(scores, float("-inf"))).softmax(-1)
        return sum(gates[:, place, None] * expert(values) for place, expert in enumerate(self.experts))


class GraphConvolution(nn.Module):
    """Nodes and a square matrix of edges: one size in three places."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(5, 8), nn.Linear(8, 2)

    def forward(self, nodes, edges):
        edges = edges.float()
        degrees = edges.sum(-1, keepdim=True).clamp(min=1)
        return self.second(edges @ self.first(edges @ nodes / degrees).relu() / degrees)


class PointNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.points, self.head = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 16)), nn.Linear(16, 4)

    def forward(self, cloud):
        return self.head(self.points(cloud).amax(1))


@dataclass
class Detections:
    boxes: Tensor
    scores: Tensor
    best: Tensor


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 4 + 3, 1)

    def forward(self, pixels):
        found = self.head(self.body(pixels).relu()).flatten(2).transpose(1, 2)
        scores = found[..., 4:].softmax(-1)
        return Detections(boxes=found[..., :4].sigmoid(), scores=scores, best=scores.argmax(-1))


class Ranked(NamedTuple):
    values: Tensor
    places: Tensor


class Ranker(nn.Module):
    def __init__(self):
        super().__init__()
        self.score = nn.Linear(4, 1)

    def forward(self, candidates):
        return Ranked(*self.score(candidates).squeeze(-1).sort(dim=1, descending=True))


class Siamese(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(6, 8), nn.ELU(), nn.Linear(8, 4))

    def forward(self, left, right):
        left, right = self.encoder(left), self.encoder(right)
        return functional.cosine_similarity(left, right), torch.cdist(left[:, None], right[:, None])[:, 0, 0]


class CouplingFlow(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(2, 4)

    def forward(self, values):
        fixed, moved = values[:, :2], values[:, 2:]
        scale, shift = self.net(fixed).chunk(2, 1)
        return torch.cat([fixed, moved * scale.tanh().exp() + shift], 1), scale.tanh().sum(1)


class SpatialTransformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.where = nn.Linear(64, 6)

    def forward(self, image):
        affine = self.where(image.flatten(1)).view(-1, 2, 3)
        grid = functional.affine_grid(affine, image.size(), align_corners=False)
        return functional.grid_sample(image, grid, align_corners=False)


class Spectrogram(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("window", torch.hann_window(16))
        self.head = nn.Linear(9, 2)

    def forward(self, wave):
        spectrum = torch.stft(wave, 16, 8, window=self.window, return_complex=True)
        return self.head(torch.log1p(spectrum.abs()).mean(-1))


class Branching(nn.Module):
    """Control flow on values, which no graph without branches can hold."""

    def __init__(self):
        super().__init__()
        self.near, self.far = nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, values: Tensor) -> Tensor:
        if bool(values.abs().mean() > 0.5):
            return self.far(values)
        return self.near(values)


class NonZero(nn.Module):
    """An answer whose size depends on the values."""

    def forward(self, values):
        return values.nonzero()


class Masked(nn.Module):
    def forward(self, scores, allowed):
        return scores.masked_fill(~allowed, -1e9).softmax(-1), allowed.sum(1), allowed.any(1)


class Integers(nn.Module):
    def forward(self, ids: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
        return (ids + shift) % 7, torch.bitwise_and(ids, shift)


class Statistics(nn.Module):
    def forward(self, series):
        return torch.stack([series.mean(1), series.std(1), series.median(1).values, series.cumsum(1)[:, -1]], 1)


def double_mlp():
    return Mlp().double()


def half_mlp():
    return Mlp().half()
