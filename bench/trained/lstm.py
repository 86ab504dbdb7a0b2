"""Two LSTMs over the words of a sentence."""

from torch import Tensor, nn


class Lstm(nn.Module):
    """An embedding, two layers of LSTM, a classifier on the last word's state."""

    def __init__(self, classes: int, words: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, 32)
        self.lstm = nn.LSTM(32, 64, num_layers=2, batch_first=True)
        self.head = nn.Linear(64, classes)

    def forward(self, ids: Tensor) -> Tensor:
        y, _ = self.lstm(self.embedding(ids))
        return self.head(y[:, -1])
