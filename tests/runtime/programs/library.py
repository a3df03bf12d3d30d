"""Tries what Python programs ask of a kernel, module by module; nothing printed differs between two runs."""

import asyncio
import datetime
import decimal
import hashlib
import json
import mmap
import os
import queue
import random
import re
import selectors
import signal
import socket
import sqlite3
import struct
import sys
import tempfile
import threading
import time
import zlib


def texts():
    print(json.dumps({"a": [1, 2.5, None], "ä": "ö"}), json.loads('{"x": [1e3, true]}'))
    print(re.sub(r"(\d+)", lambda match: str(int(match[1]) + 1), "x9y10"))
    decimal.getcontext().prec = 50
    print(decimal.Decimal(2).sqrt(), f"{1 / 3:.3f}")
    print(struct.pack("<iq", 1, 2), struct.unpack(">H", b"\x01\x02"))
    print(datetime.datetime(2024, 2, 29, tzinfo=datetime.UTC) + datetime.timedelta(days=366))
    print(hashlib.sha256(b"x").hexdigest(), hashlib.blake2b(b"x", digest_size=8).hexdigest())
    print(hashlib.scrypt(b"a", salt=b"b", n=16, r=1, p=1).hex()[:16])
    random.seed(7)
    data = random.randbytes(100_000) + bytes(100_000)
    packed = zlib.compress(data)
    print(zlib.decompress(packed) == data, zlib.crc32(data))


def database(directory):
    path = os.path.join(directory, "data.db")
    with sqlite3.connect(path) as connection:
        connection.execute("create table orders(id integer primary key, item text, price real)")
        rows = [(number, f"item {number % 10}", number / 4) for number in range(5000)]
        connection.executemany("insert into orders values(?, ?, ?)", rows)
        connection.execute("create index by_item on orders(item)")
    connection.close()
    connection = sqlite3.connect(path)
    print(
        connection.execute("select item, count(*), sum(price) from orders group by item limit 2").fetchall()
    )
    try:
        with connection:
            connection.execute("delete from orders")
            raise ValueError("rolled back")
    except ValueError as error:
        print(error, connection.execute("select count(*) from orders").fetchone())
    connection.execute("pragma journal_mode=wal")
    connection.execute("update orders set price = price + 1")
    connection.commit()
    print(connection.execute("select total(price) from orders").fetchone())
    connection.close()


def threads():
    jobs, results, lock = queue.Queue(), [], threading.Lock()
    started = threading.Barrier(8)

    def work():
        started.wait()
        while (number := jobs.get()) is not None:
            with lock:
                results.append(number * number)

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for number in range(2000):
        jobs.put(number)
    for _ in workers:
        jobs.put(None)
    for worker in workers:
        worker.join()
    print(len(results), sum(results), threading.active_count())
    fired = threading.Event()
    threading.Timer(0.01, fired.set).start()
    print(fired.wait(30), threading.Event().wait(0.01))


async def coroutines():
    async def after(seconds, value):
        await asyncio.sleep(seconds)
        return value

    print(await asyncio.gather(after(0.03, 1), after(0.01, 2), after(0, 3)))
    try:
        await asyncio.wait_for(after(60, None), 0.02)
    except TimeoutError:
        print("timed out")
    print(await asyncio.to_thread(sum, range(100)))
    loop, arrived = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR2, arrived.set)
    loop.call_later(0.01, os.kill, os.getpid(), signal.SIGUSR2)
    print(await arrived.wait())


def signals():
    arrived = []
    signal.signal(signal.SIGUSR1, lambda number, frame: arrived.append(number))
    os.kill(os.getpid(), signal.SIGUSR1)
    signal.signal(signal.SIGALRM, lambda number, frame: arrived.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    give_up = time.monotonic() + 30  # a busy machine may be late
    while len(arrived) < 2 and time.monotonic() < give_up:
        time.sleep(0.01)
    print(arrived)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    os.kill(os.getpid(), signal.SIGUSR1)
    print(signal.sigpending(), signal.sigwait([signal.SIGUSR1]))
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        print("interrupted")


def files(directory):
    path = os.path.join(directory, "file")
    with open(path, "w") as file:
        file.write("line\n" * 5000)
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        memory[0:4] = b"LINE"
        memory.flush()
        print(len(memory), memory.find(b"line", 10), file.read(9))
    os.makedirs(os.path.join(directory, "a/b/c"))
    os.symlink("b", os.path.join(directory, "a/link"))
    for folder, folders, names in os.walk(directory):
        print(os.path.relpath(folder, directory), sorted(folders), sorted(names))
    with tempfile.NamedTemporaryFile(dir=directory) as file, tempfile.TemporaryFile() as unnamed:
        unnamed.write(b"x")
        print(os.path.exists(file.name), os.fstat(unnamed.fileno()).st_nlink)
    try:
        open(os.path.join(directory, "missing"))
    except FileNotFoundError as error:
        print(error.errno, error.strerror)


def channels():
    ours, theirs = socket.socketpair()
    with selectors.DefaultSelector() as selector, ours, theirs:
        selector.register(theirs, selectors.EVENT_READ)
        print(selector.select(0))
        threading.Timer(0.01, ours.sendall, [b"through a socket"]).start()
        print(len(selector.select(30)), theirs.recv(100))
        ours.shutdown(socket.SHUT_WR)
        print(theirs.recv(1))
    reading, writing = os.pipe()
    os.write(writing, b"x" * 1000)
    print(len(os.read(reading, 4096)), os.get_blocking(reading), os.get_inheritable(reading))


def main():
    with tempfile.TemporaryDirectory() as directory:
        texts()
        database(directory)
        threads()
        asyncio.run(coroutines())
        signals()
        files(directory)
        channels()
    print(sys.argv[1:], sys.version_info[:2], os.getcwd() != "", sys.stdin.read())
    sys.exit(5)


if __name__ == "__main__":
    main()
