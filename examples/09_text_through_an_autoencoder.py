"""Squeezes text messages through a code of 16 numbers, and finds the unusual ones among them.

An auto-encoder learns, without labels, to restore a message's words from a short code. The networks
that tell spam see nothing but that code; and a message whose words the code can't restore is
unlike those before it.

Run it: python examples/09_text_through_an_autoencoder.py
"""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import streamnet

DATA = Path(__file__).parent / "data"
TEXT = {"text": streamnet.Kind.TEXT}

with gzip.open(DATA / "sms_spam.csv.gz", "rt", encoding="utf-8", newline="") as file:
    messages = list(csv.DictReader(file))
samples = [{"text": row["text"]} for row in messages]
labels = [row["label"] for row in messages]

classifier = streamnet.OnlineClassifier(
    [streamnet.CandidateSettings(hidden=(16,), learning_rate=rate) for rate in (0.01, 0.003)],
    encoder={"autoencoder": {"code": 16, "inputs": "replace"}},
    kinds=TEXT,
)
classifier.partial_fit(samples, labels)
majority = labels.count("ham") / len(labels)
print(f"{classifier.served['accuracy']:.1%} named rightly from 16 numbers before they were learned")
print(f"{majority:.1%} by always answering ham")

coder = streamnet.AutoEncoder(16, kinds=TEXT)
scores = coder.score_and_learn(samples)
print("the most unusual messages, by standard deviations above those before them:")
for number in scores.argsort()[:-4:-1]:
    print(f"{scores[number]:+.2f}  {samples[number]['text'][:70]}")

print("and two that were never learned:")
for text in ("I'll call you when I am home", "Zwölf Boxkämpfer jagen Viktor quer über Sylt"):
    print(f"{coder.score_one({'text': text}):+.2f}  {text}")
