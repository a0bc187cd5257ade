"""Learns text messages one by one, as they come in: is it spam?

`predict_one` before `learn_one`, always: that is the honest way to keep score. No vocabulary, no
scaling and no list of classes is needed beforehand.

Run it: python examples/02_online_classifier.py
"""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import streamnet

DATA = Path(__file__).parent / "data"

with gzip.open(DATA / "sms_spam.csv.gz", "rt", encoding="utf-8", newline="") as file:
    messages = list(csv.DictReader(file))

classifier = streamnet.OnlineClassifier(
    [
        streamnet.CandidateSettings(hidden=(), optimizer="adagrad", learning_rate=0.1),
        streamnet.CandidateSettings(hidden=(32,), optimizer="adagrad", learning_rate=0.1),
        streamnet.CandidateSettings(hidden=(32,), optimizer="rmsprop", learning_rate=0.003),
    ],
    kinds={"text": streamnet.Kind.TEXT},
    seed=1,
)

right = ham = 0
for number, row in enumerate(messages, start=1):
    sample = {"text": row["text"]}
    right += classifier.predict_one(sample) == row["label"]
    ham += row["label"] == "ham"
    classifier.learn_one(sample, row["label"])
    if number % 1000 == 0:
        print(f"{number:5,} messages, {right / number:.1%} named rightly before they were learned")

print(f"always answering ham would have been right for {ham / len(messages):.1%}")

for text in ("You have WON a free prize, call now to claim!", "See you at home at eight?"):
    shares = classifier.predict_proba_one({"text": text})
    print(f"{shares['spam']:6.1%} spam: {text}")
