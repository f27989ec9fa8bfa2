"""`flambeau demo`: train a small convolutional network on real handwritten digits, and say what was done for it."""

from __future__ import annotations

import math
import os.path
import tempfile
import time
from typing import Any, NamedTuple

import flambeau as torch

from ..vision.datasets import Digits
from .facts import Counters, counters
from .progress import progress

GOAL = 0.97
SHADES = " .:-=+*#%@"


class Options(NamedTuple):
    """What the command line sets."""

    epochs: int = 12
    batch_size: int = 32
    lr: float = 0.003
    seed: int = 0
    plot: str | None = None
    save: str | None = None


class Epoch(NamedTuple):
    """One line of the table: mean loss of the steps, loss and accuracy on the held-out images, seconds of a step."""

    loss: float
    held_out_loss: float
    accuracy: float
    step: float


def build() -> Any:
    """The network: two convolutions, a pooling, one linear layer; (N, 1, 8, 8) -> (N, 10)."""
    nn = torch.nn
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 4 * 4, 10),
    )


def split() -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """((images, labels) to train on, (images, labels) held out): four fifths and a fifth, by a fixed shuffle."""
    data = Digits()
    images = torch.from_numpy(data.images).float().div(16).unsqueeze(1)
    labels = torch.from_numpy(data.labels).long()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    cut = len(images) * 4 // 5
    seen, held = order[:cut], order[cut:]
    return (images[seen], labels[seen]), (images[held], labels[held])


def evaluate(model: Any, images: Any, labels: Any) -> tuple[float, float]:
    """(mean loss, share of right answers)."""
    with torch.no_grad():
        scores = model(images)
        loss = torch.nn.functional.cross_entropy(scores, labels)
        right = (scores.argmax(1) == labels).float().mean()
    return loss.item(), right.item()


def train_epoch(model: Any, optimizer: Any, loader: Any, title: str) -> tuple[float, float]:
    """One pass over the images: (mean loss, seconds a step)."""
    total, begun = 0.0, time.perf_counter()
    for images, labels in progress(loader, title):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total / len(loader), (time.perf_counter() - begun) / len(loader)


def train(options: Options) -> tuple[Any, list[Epoch]]:
    """The trained network and the table, printed as it grows."""
    torch.manual_seed(options.seed)
    seen, held = split()
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(*seen), batch_size=options.batch_size, shuffle=True
    )
    model = build()
    optimizer = torch.optim.Adam(model.parameters(), lr=options.lr)
    print(
        f"{len(seen[0]):,} images to train on, {len(held[0])} held out; one step is {options.batch_size} images\n"
    )
    print(f"{'epoch':>5}{'loss':>10}{'held-out loss':>16}{'accuracy':>11}{'us a step':>12}")
    table = []
    for epoch in range(1, options.epochs + 1):
        loss, step = train_epoch(model, optimizer, loader, f"epoch {epoch}")
        row = Epoch(loss, *evaluate(model, *held), step)
        table.append(row)
        print(
            f"{epoch:5}{row.loss:10.4f}{row.held_out_loss:16.4f}{row.accuracy:11.2%}{row.step * 1e6:12,.0f}",
            flush=True,
        )
    return model, table


def save_and_load(model: Any, path: str) -> Any:
    """A second network with the parameters that the first one's file holds."""
    torch.save(model.state_dict(), path)
    again = build()
    again.load_state_dict(torch.load(path))
    return again


def drawing(images: Any, answers: list[str]) -> str:
    """Images of 8x8 side by side in characters, an answer under each."""
    rows = []
    for y in range(8):
        lines = ["".join(SHADES[min(int(v * 10), 9)] * 2 for v in image[0][y]) for image in images]
        rows.append("   ".join(lines))
    rows.append("   ".join(f"{answer:^16}" for answer in answers))
    return "\n".join(row.rstrip() for row in rows)


def show_predictions(model: Any, images: Any, labels: Any, count: int = 5) -> None:
    """Print some held-out images, among them one that the network gets wrong if there is any."""
    with torch.no_grad():
        chances = torch.softmax(model(images), 1)
    best = chances.argmax(1).tolist()
    wrong = [i for i, (guess, label) in enumerate(zip(best, labels.tolist())) if guess != label]
    chosen = (list(range(count - len(wrong[:1]))) + wrong)[:count]
    answers = [
        f"{best[i]} ({chances[i, best[i]].item():.0%})" + (f" not {labels[i].item()}" if i in wrong else "")
        for i in chosen
    ]
    print(drawing([images[i].tolist() for i in chosen], answers))


def plot(table: list[Epoch], path: str) -> None:
    """Write the curves of loss and accuracy to an image file; ImportError if matplotlib is not there."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    left = figure.add_subplot(xlabel="epoch", ylabel="cross entropy")
    epochs = range(1, len(table) + 1)
    left.plot(epochs, [row.loss for row in table], label="loss")
    left.plot(epochs, [row.held_out_loss for row in table], label="loss, held out")
    left.set_yscale("log")
    right = left.twinx()
    right.plot(epochs, [100 * row.accuracy for row in table], "k--", label="accuracy, held out")
    right.set_ylabel("accuracy (%)")
    figure.legend(loc="outside upper center", ncols=3)
    FigureCanvasAgg(figure)
    figure.savefig(path)
    print(f"The curves are in {path}")


def engine_report(before: Counters, after: Counters, steps: int) -> str:
    """What the engine did: kernels compiled or taken from the disk cache, programs made and reused."""
    made = after.compiled - before.compiled
    found = after.from_disk - before.from_disk
    programs, runs = after.programs - before.programs, after.runs - before.runs
    lines = [f"{steps:,} steps ran {runs:,} times through {programs} programs"]
    if programs:
        lines[0] += f" (each was reused {max(runs - programs, 0) / programs:,.1f} times on average)"
    lines.append(f"kernels compiled: {made}, taken from the cache on disk: {found}")
    if made:
        lines.append("This was a first run; the next one starts from the cache.")
    elif found:
        lines.append("This run started from the cache: no kernel had to be compiled.")
    return "\n".join(lines)


def demo(options: Options) -> int:
    """The whole job; exit status 0 if the accuracy on the held-out fifth reaches 97%."""
    if options.plot is not None and not has_matplotlib():
        print("flambeau demo: --plot needs matplotlib: pip install 'flambeau[plot]'")
        return 2
    before, begun = counters(), time.perf_counter()
    model, table = train(options)
    seconds = time.perf_counter() - begun
    accuracy = table[-1].accuracy if table else 0.0
    _, held = split()
    with tempfile.TemporaryDirectory() as folder:
        path = options.save or os.path.join(folder, "digits.pt")
        again = save_and_load(model, path)
        size = os.path.getsize(path)
    same = evaluate(again, *held)[1] == accuracy
    print(f"\nAccuracy on the held-out fifth: {accuracy:.2%}, in {seconds:.1f} s")
    print(f"Saved ({size:,} bytes) and loaded back: the answers are {'the same' if same else 'DIFFERENT'}\n")
    show_predictions(again, *held)
    steps = len(table) * math.ceil(len(Digits()) * 4 // 5 / options.batch_size)
    print("\n" + engine_report(before, counters(), steps))
    if options.plot is not None:
        plot(table, options.plot)
    if accuracy < GOAL:
        print(f"This is below the {GOAL:.0%} that this network reaches with the settings as they come.")
    return 0 if accuracy >= GOAL and same else 1


def has_matplotlib() -> bool:
    """Whether the extra for curves is installed."""
    from importlib.util import find_spec

    return find_spec("matplotlib") is not None
