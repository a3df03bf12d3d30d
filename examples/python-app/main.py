"""Settle a day of orders: the kind of job that runs on data nobody else may read.

Eight threads price the orders, SQLite keeps the ledger, exact decimals add it up, and a digest seals the
report. Everything comes from Python's standard library.

    python3 main.py [NUMBER OF ORDERS]
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import platform
import re
import sqlite3
import sys
import tempfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

PRICES = {"tea": Decimal("3.49"), "coffee": Decimal("5.25"), "cocoa": Decimal("4.10")}


def orders(count: int) -> list[str]:
    goods = sorted(PRICES)
    return [f"order {n}: {n % 7 + 1} x {goods[n % len(goods)]}" for n in range(count)]


def price(line: str) -> tuple[int, str, Decimal]:
    match = re.fullmatch(r"order (\d+): (\d+) x (\w+)", line)
    assert match is not None, line
    number, amount, good = match.groups()
    return int(number), good, int(amount) * PRICES[good]


def book(path: Path, priced: list[tuple[int, str, Decimal]]) -> dict[str, str]:
    with sqlite3.connect(path) as ledger:
        ledger.execute("CREATE TABLE sale (id INTEGER PRIMARY KEY, good TEXT, pence INTEGER)")
        rows = [(number, good, int(total * 100)) for number, good, total in priced]
        ledger.executemany("INSERT INTO sale VALUES (?, ?, ?)", rows)
        sums = ledger.execute("SELECT good, SUM(pence) FROM sale GROUP BY good ORDER BY good")
        return {good: str(Decimal(pence) / 100) for good, pence in sums}


async def count_down(seconds: int) -> list[int]:
    async def wait(n: int) -> int:
        await asyncio.sleep(n / 100)
        return n

    return [await done for done in asyncio.as_completed([wait(n) for n in range(seconds, 0, -1)])]


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with ThreadPoolExecutor(8) as threads:
        priced = list(threads.map(price, orders(count)))
    with tempfile.TemporaryDirectory() as folder:
        sums = book(Path(folder) / "ledger.db", priced)

    report = {
        "host": platform.node(),
        "orders": count,
        "sums": sums,
        "total": str(sum(total for _, _, total in priced)),
        "timers": asyncio.run(count_down(5)),
    }
    text = json.dumps(report, indent=2)
    print(text)
    print("compressed", len(zlib.compress(text.encode())), "bytes")
    print("sha256    ", hashlib.sha256(text.encode()).hexdigest())


if __name__ == "__main__":
    main()
