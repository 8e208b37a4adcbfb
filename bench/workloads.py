"""The cells that are measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Workload:
    """A cell, and what it needs.

    Parameters
    ----------
    setup : str
        Source that runs once, unmeasured.
    body : str
        The cell, names free of any prefix.
    names : tuple of str
        What the body binds; deleted between two runs, so that no run pays for the one before.
    inputs : tuple of str
        Names of the setup that the body reads.
    function_body : str
        The same work for a function of a file; smaller where line profiling by settrace would take minutes.
    function_note : str
        In which way it is smaller.
    """

    setup: str
    body: str
    names: tuple[str, ...]
    inputs: tuple[str, ...]
    function_body: str
    function_note: str = ""


_ORDERS = """
import numpy as np
import pandas as pd

rng = np.random.default_rng(0)
count = 2_000_000
orders = pd.DataFrame({
    "customer": rng.integers(0, 100_000, count),
    "product": rng.integers(0, 5_000, count),
    "quantity": rng.integers(1, 20, count),
    "price": rng.gamma(2.0, 15.0, count),
    "day": np.datetime64("2024-01-01") + rng.integers(0, 366, count).astype("timedelta64[D]"),
})
kinds = rng.choice(["toys", "books", "garden", "food"], 5_000)
products = pd.DataFrame({
    "product": np.arange(5_000),
    "label": [f"{kind}-{number:05d}" for number, kind in enumerate(kinds)],
})
del rng, count, kinds
"""

_SALES = """
sales = orders.merge(products, on="product")
sales["revenue"] = sales["quantity"] * sales["price"]
sales["month"] = sales["day"].dt.month
sales["category"] = sales["label"].str[:-6].str.upper()
monthly = sales.groupby(["category", "month"])["revenue"].agg(["sum", "mean", "count"])
best = sales.groupby("customer")["revenue"].sum().sort_values(ascending=False).head(1_000)
ranked = sales.sort_values(["customer", "day"])
spread = np.log1p(sales["revenue"].to_numpy()).std()
""".strip()

#: Merge, arithmetic, strings, group-by and sort of 2 million rows: about a second.
PANDAS = Workload(
    setup=_ORDERS,
    body=_SALES,
    names=("sales", "monthly", "best", "ranked", "spread"),
    inputs=("np", "orders", "products"),
    function_body=_SALES,
)

_LOOP = """
x = 0
y = []
for i in range({count}):
    x += i * 2
    if i % 3 == 0:
        y.append(x)
""".strip()

#: Three million turns, three lines each, a million objects kept.
LOOP = Workload(
    setup="import numpy as np\nimport pandas as pd",
    body=_LOOP.format(count="3_000_000"),
    names=("x", "y", "i"),
    inputs=(),
    function_body=_LOOP.format(count="60_000"),
    function_note="60 000 turns of the loop instead of 3 000 000, against the plain function of as many",
)
