# SPDX-License-Identifier: Apache-2.0
"""Train a small CNN on the digits in PyTorch; export it, with pictures for the pipeline that reads PNG files."""

import sys
from pathlib import Path

import numpy as np
import torch
from datasets import DIGIT_WORDS, SEED, digit_pictures, normalised, save_rows
from PIL import Image
from torch import nn

EPOCHS, BATCH = 12, 64


class DigitsCnn(nn.Module):
    """Logits [batch, 10] of pictures [batch, 1, 8, 8]."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.classifier = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(32 * 4 * 4, 10))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(image))


def train(model: nn.Module, rows: torch.Tensor, answers: torch.Tensor) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(rows)).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(rows[batch]), answers[batch]).backward()
            optimizer.step()


def save_pictures(folder: Path, pictures: np.ndarray, count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index, picture in enumerate(pictures[:count]):
        Image.fromarray(picture, mode="L").save(folder / f"{index:03}.png")


def main(folder: Path) -> None:
    torch.manual_seed(SEED)
    train_pictures, test_pictures, train_answers, test_answers = digit_pictures()
    model = DigitsCnn()
    train(model, torch.from_numpy(normalised(train_pictures)[:, None]), torch.from_numpy(train_answers))
    model.eval()

    test = normalised(test_pictures)[:, None]
    with torch.inference_mode():
        logits = model(torch.from_numpy(test)).numpy()
    batch = torch.export.Dim("batch", min=1, max=1024)
    program = torch.export.export(model, (torch.zeros(2, 1, 8, 8),), dynamic_shapes={"image": {0: batch}})
    torch.export.save(program, folder / "digits_cnn.pt2")
    (folder / "digits_cnn.labels.txt").write_text("\n".join(DIGIT_WORDS) + "\n")
    save_rows(folder / "digits_cnn.sample.npz", image=normalised(train_pictures[:64])[:, None])
    save_rows(folder / "digits_cnn.test.npz", image=test, output=logits, truth=test_answers)
    save_pictures(folder / "digits_reader.pictures", train_pictures, 32)
    save_rows(folder / "digits_reader.test.npz", pictures=test_pictures, logits=logits, truth=test_answers)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
