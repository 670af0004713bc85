"""What the device code must agree with, written as plainly as its formulas: numpy, float64, no cache."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from star_jax.models.config import ModelConfig

Weights = Mapping[str, np.ndarray]


def weights(params: Any) -> dict[str, np.ndarray]:
    """{'blocks.0.attention.q': float64 array, ...}"""
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    found = {}
    for path, leaf in leaves:
        name = jax.tree_util.keystr(path, simple=True, separator=".").removesuffix(".value")
        array = np.asarray(leaf, np.float64)
        stacked = name.startswith("blocks.")
        found |= {
            name.replace("blocks.", f"blocks.{layer}."): x
            for layer, x in enumerate(array if stacked else [array])
        }
    return found


def logits(config: ModelConfig, w: Weights, tokens: Sequence[int]) -> np.ndarray:
    """GPT-J on one document: T tokens to [T, V]."""
    x = w["embedding"][list(tokens)]
    for layer in range(config.layers):
        block = f"blocks.{layer}"
        h = norm(x, w[f"{block}.norm.scale"], w[f"{block}.norm.bias"], config.norm_epsilon)
        x = x + _attention(config, w, f"{block}.attention", h) + _mlp(w, f"{block}.mlp", h)
    x = norm(x, w["norm.scale"], w["norm.bias"], config.norm_epsilon)
    return x @ w["head"] + w["head_bias"]


def norm(x: np.ndarray, scale: np.ndarray, bias: np.ndarray, epsilon: float) -> np.ndarray:
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + epsilon) * scale + bias


def rotate(x: np.ndarray, positions: Sequence[int], rotary: int, base: float) -> np.ndarray:
    """[T, D]: dimensions 2i and 2i+1 are one complex number, turned by position * base^(-2i/rotary)."""
    out = x.copy()
    for t, position in enumerate(positions):
        for i in range(rotary // 2):
            angle = position * base ** (-2 * i / rotary)
            turned = complex(x[t, 2 * i], x[t, 2 * i + 1]) * np.exp(1j * angle)
            out[t, 2 * i], out[t, 2 * i + 1] = turned.real, turned.imag
    return out


def softmax(x: np.ndarray) -> np.ndarray:
    exp = np.exp(x - x.max(-1, keepdims=True))
    return exp / exp.sum(-1, keepdims=True)


def _attention(config: ModelConfig, w: Weights, name: str, h: np.ndarray) -> np.ndarray:
    length = len(h)
    later = np.triu(np.ones((length, length), bool), 1)
    out = np.zeros_like(h)
    for head in range(config.heads):
        q, k, v = (h @ w[f"{name}.{which}"][:, head] for which in "qkv")
        q, k = (rotate(y, range(length), config.rotary, config.rotary_base) for y in (q, k))
        scores = np.where(later, -np.inf, q @ k.T / np.sqrt(config.head_dim))
        out += softmax(scores) @ v @ w[f"{name}.out"][head]
    return out


def _mlp(w: Weights, name: str, h: np.ndarray) -> np.ndarray:
    y = h @ w[f"{name}.up"] + w[f"{name}.up_bias"]
    y = 0.5 * y * (1 + np.tanh(np.sqrt(2 / np.pi) * (y + 0.044715 * y**3)))
    return y @ w[f"{name}.down"] + w[f"{name}.down_bias"]


def loss(
    config: ModelConfig, w: Weights, tokens: Sequence[int], weight: Sequence[float]
) -> tuple[float, float]:
    """Summed weighted cross-entropy of one document and how much weight was predicted right."""
    total = right = 0.0
    probabilities = softmax(logits(config, w, tokens))
    for t in range(1, len(tokens)):
        total -= weight[t] * np.log(probabilities[t - 1, tokens[t]])
        right += weight[t] * (probabilities[t - 1].argmax() == tokens[t])
    return total, right


def greedy(
    config: ModelConfig, w: Weights, prompt: Sequence[int], budget: int, end: int, vocabulary: int
) -> list[int]:
    """The most likely tokens one after another, each by a full forward pass; `end` is included."""
    tokens = list(prompt)
    while len(tokens) < len(prompt) + budget:
        tokens.append(int(logits(config, w, tokens)[-1, :vocabulary].argmax()))
        if tokens[-1] == end:
            break
    return tokens[len(prompt) :]


def kept(logits_V: Sequence[float], top_k: int, top_p: float) -> set[int]:
    """The tokens that stay with top-k, then top-p among those; ties with the last one stay too."""
    order = sorted(range(len(logits_V)), key=lambda token: -logits_V[token])
    if top_k:
        edge = logits_V[order[min(top_k, len(order)) - 1]]
        order = [token for token in order if logits_V[token] >= edge]
    if top_p < 1:
        probabilities = softmax(np.array([logits_V[token] for token in order], np.float64))
        count = 1
        while count < len(order) and probabilities[:count].sum() < top_p:
            count += 1
        edge = logits_V[order[count - 1]]
        order = [token for token in order if logits_V[token] >= edge]
    return set(order)


def stopped(
    pieces: Sequence[bytes], tokens: Sequence[int], end: int, text: bytes, budget: int
) -> tuple[list[int], bool]:
    """The tokens of `tokens` that are written until a stop, and whether there was one."""
    written: list[int] = []
    for token in tokens[:budget]:
        written.append(token)
        if token == end or (text and text in b"".join(pieces[t] for t in written)):
            return written, True
    return written, False


def adam(
    x: np.ndarray,
    gradients: Sequence[np.ndarray],
    rate: Callable[[int], float],
    *,
    clip: float,
    b1: float,
    b2: float,
    weight_decay: float = 0.0,
    epsilon: float = 1e-8,
) -> np.ndarray:
    """`x` after one step of Adam (Kingma and Ba, 2015, algorithm 1) for each gradient, clipped first.

    `rate(n)` is the learning rate of step n = 0, 1, ...; weight decay is decoupled.
    """
    m, v = np.zeros_like(x), np.zeros_like(x)
    for step, gradient in enumerate(gradients):
        gradient = gradient * min(1.0, clip / np.linalg.norm(gradient))
        m = b1 * m + (1 - b1) * gradient
        v = b2 * v + (1 - b2) * gradient**2
        direction = m / (1 - b1 ** (step + 1)) / (np.sqrt(v / (1 - b2 ** (step + 1))) + epsilon)
        x = x - rate(step) * (direction + weight_decay * x)
    return x
