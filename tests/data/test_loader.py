"""The loader delivers what the source, the order and the columns say, in flat memory, and leaves no thread behind."""

import signal
import threading
import time
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from groundswell.core.errors import InputError
from groundswell.data.arrays import ArraySource
from groundswell.data.loader import Loader
from groundswell.data.order import Order
from groundswell.data.source import Source

ROWS = 37
X = np.random.default_rng(1).normal(size=(ROWS, 5, 3)).astype(np.float32)
LABEL = np.arange(ROWS) % 3


class SlowSource(ArraySource):
    """Takes its time over each sample, differently for each, and can fail at one."""

    def __init__(self, arrays, seconds=0.0, bad_row=-1):
        super().__init__(arrays)
        self.seconds, self.bad_row, self.reads, self.threads = seconds, bad_row, 0, set()

    def read(self, rows, out):
        self.reads += 1
        self.threads.add(threading.current_thread().name)
        time.sleep(self.seconds * (1 + rows[0] % 3))
        if self.bad_row in rows:
            raise InputError("The file ends early", where=f"record of row {self.bad_row}")
        super().read(rows, out)


def loader(source=None, *, batch=4, rows=None, columns=None, **options):
    source = source or ArraySource({"x": X})
    order = Order(np.arange(len(source)) if rows is None else rows, batch, 5)
    return Loader(source, order, {"label": LABEL} if columns is None else columns, **options)


def drained(batches):
    return [{name: tensor.clone() for name, tensor in batch.items()} for batch in batches]


def same(left, right):
    return len(left) == len(right) and all(
        a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
        for a, b in zip(left, right, strict=True))


def our_threads():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("groundswell")]


@pytest.fixture(autouse=True)
def no_thread_outlives_its_pass():
    yield
    assert our_threads() == []


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 5), st.integers(0, 3), st.integers(0, 3), st.data())
def test_every_pass_is_what_the_order_says_from_any_batch_on(batch, threads, prefetch, epoch, data):
    made = loader(batch=batch, threads=threads, prefetch_batches=prefetch)
    start = data.draw(st.integers(0, made.batches))
    rows, weight = Order(np.arange(ROWS), batch, 5).epoch(epoch)
    got = drained(made.iterate(epoch, start))
    assert len(got) == made.batches - start
    for index, found in enumerate(got, start):
        assert found["row"].numpy().tolist() == rows[index].tolist()
        assert found["weight"].numpy().tolist() == weight[index].tolist()
        assert (found["label"].numpy() == LABEL[rows[index]]).all()
        assert (found["x"].numpy() == X[rows[index]]).all()
    made.close()


@pytest.mark.parametrize("threads", [1, 3, 8])
@pytest.mark.parametrize("prefetch", [0, 1, 4])
def test_a_slow_source_and_many_threads_change_nothing(threads, prefetch):
    plain = drained(loader(threads=1, prefetch_batches=0).iterate(2))
    slow = loader(SlowSource({"x": X}, seconds=0.001), threads=threads, prefetch_batches=prefetch)
    assert same(drained(slow.iterate(2)), plain)
    assert same(drained(slow.iterate(2, 3)), plain[3:])


def test_starting_late_reads_nothing_that_comes_before():
    source = SlowSource({"x": X})
    made = loader(source, threads=1, prefetch_batches=0)
    assert len(drained(made.iterate(0, made.batches - 1))) == 1
    assert source.reads == 1


def test_readers_share_a_batch():
    source = SlowSource({"x": X}, seconds=0.01)
    drained(loader(source, threads=4, batch=8).iterate(0))
    assert len(source.threads) == 4 and all("read" in name for name in source.threads)


@pytest.mark.parametrize("prefetch", [0, 1, 3])
def test_buffers_are_a_ring_and_a_batch_lasts_until_the_next_is_asked_for(prefetch):
    made = loader(SlowSource({"x": X}), prefetch_batches=prefetch)
    places = set()
    for epoch in range(4):
        for batch in made.iterate(epoch):
            places.add(batch["x"].data_ptr())
            time.sleep(0.001)  # whoever reads ahead has time to do harm
            assert (batch["x"].numpy() == X[batch["row"].numpy()]).all()
    assert len(places) == prefetch + 1


def test_memory_is_flat():
    source = ArraySource({"x": np.zeros((4000, 256, 16), np.float32)})
    made = loader(source, batch=16, columns={}, threads=2)
    batch_bytes = 16 * 256 * 16 * 4
    for _ in made.iterate(0):
        pass
    tracemalloc.start()
    for epoch in range(1, 3):
        for _ in made.iterate(epoch):
            pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < batch_bytes, f"500 batches of {batch_bytes} bytes allocated {peak}"


def test_dtypes_and_shapes_are_kept():
    arrays = {"a": np.arange(ROWS, dtype=np.uint16), "b": np.ones((ROWS, 2, 2), np.int16),
              "c": np.arange(ROWS, dtype=np.float64), "d": np.arange(ROWS) % 2 == 0, "e": np.ones(ROWS, np.uint8)}
    columns = {"target": np.ones((ROWS, 3), np.float32), "valid": np.arange(ROWS) % 5 == 0}
    batch = next(iter(drained(loader(ArraySource(arrays), columns=columns).iterate(0))))
    assert {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in batch.items()} == {
        "a": (torch.uint16, (4,)), "b": (torch.int16, (4, 2, 2)), "c": (torch.float64, (4,)), "d": (torch.bool, (4,)),
        "e": (torch.uint8, (4,)), "target": (torch.float32, (4, 3)), "valid": (torch.bool, (4,)),
        "row": (torch.int64, (4,)), "weight": (torch.float32, (4,))}
    assert (batch["a"].numpy() == batch["row"].numpy()).all()


def test_balanced_sampling_and_two_processes_reach_every_row_they_should():
    source = ArraySource({"x": X})
    rows = []
    for rank in range(2):
        order = Order(np.arange(ROWS), 4, 1, balance=LABEL, rank=rank, world=2)
        for batch in Loader(source, order, {"label": LABEL}).iterate(0):
            rows.append(batch["label"][batch["weight"] > 0].clone())
    assert len(set(torch.bincount(torch.cat(rows)).tolist())) == 1


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("prefetch", [0, 2])
def test_what_a_reader_raises_reaches_the_consumer_unchanged_and_the_loader_lives_on(threads, prefetch):
    source = SlowSource({"x": X}, bad_row=11)
    made = loader(source, threads=threads, prefetch_batches=prefetch)
    before = 0
    with pytest.raises(InputError, match="The file ends early") as caught:
        for _ in made.iterate(0):
            before += 1
    assert caught.value.where == "record of row 11"
    rows = Order(np.arange(ROWS), 4, 5).epoch(0)[0]
    assert before == int(np.flatnonzero((rows == 11).any(axis=1))[0]), "every batch before the bad one was delivered"
    assert our_threads() == []
    source.bad_row = -1
    assert len(drained(made.iterate(1))) == made.batches


@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_consumer_may_leave_early(prefetch):
    source = SlowSource({"x": X}, seconds=0.02)
    made = loader(source, threads=1, prefetch_batches=prefetch)
    for _ in made.iterate(0):
        break
    assert our_threads() == []
    assert source.reads <= 2, "at most the batch that was being read is finished"
    with pytest.raises(ZeroDivisionError):
        for _ in made.iterate(0):
            raise ZeroDivisionError
    assert our_threads() == []


def test_an_interrupt_while_waiting_for_a_batch_ends_cleanly():
    made = loader(SlowSource({"x": X}, seconds=0.3), threads=2)
    main = threading.get_ident()
    timer = threading.Timer(0.1, lambda: signal.pthread_kill(main, signal.SIGINT))
    # A shell that starts the tests in the background has them ignore interrupts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            for _ in made.iterate(0):
                pass
        timer.join()
    finally:
        signal.signal(signal.SIGINT, before)
    assert our_threads() == []


@pytest.mark.parametrize("prefetch", [0, 2])
@pytest.mark.parametrize("threads", [1, 2])
def test_one_pass_at_a_time(prefetch, threads):
    made = loader(prefetch_batches=prefetch, threads=threads)
    first = made.iterate(0)
    next(first)
    second = made.iterate(1)
    next(second)
    time.sleep(0.01)  # batches of the first pass lie ready, and must not be handed out any more
    with pytest.raises(RuntimeError, match="ended"):
        next(first)
    assert len(drained(second)) == made.batches - 1
    third = made.iterate(0)
    next(third)
    made.close()
    assert our_threads() == []
    with pytest.raises(RuntimeError, match="ended"):
        next(third)
    assert len(drained(made.iterate(0))) == made.batches, "a closed loader opens again"


def test_an_abandoned_loader_does_not_keep_the_program_alive():
    made = loader()
    kept = made.iterate(0)
    next(kept)
    assert any("prefetch" in name for name in our_threads())
    assert next(t for t in threading.enumerate() if t.name == "groundswell-prefetch").daemon
    kept.close()


def test_an_empty_pass_reads_nothing():
    made = loader()
    assert drained(made.iterate(0, made.batches)) == []
    for wrong in (-1, made.batches + 1):
        with pytest.raises(ValueError, match="outside an epoch"):
            made.iterate(0, wrong)


def test_what_does_not_go_together_is_said_at_once():
    source = ArraySource({"x": X})
    with pytest.raises(ValueError, match="outside the source"):
        loader(source, rows=np.array([ROWS]))
    for columns in ({"x": LABEL}, {"row": LABEL}, {"weight": LABEL}, {"label": LABEL[:-1]}):
        with pytest.raises(ValueError, match="does not go with"):
            loader(source, columns=columns)
    with pytest.raises(TypeError):
        loader(source, columns={"name": np.array(["a"] * ROWS, dtype=object)})
    with pytest.raises(ValueError, match="thread"):
        loader(source, threads=0)
    with pytest.raises(ValueError, match="prefetch"):
        loader(source, prefetch_batches=-1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_batches_are_copied_before_their_buffers_are_filled_again():
    x = np.random.default_rng(2).normal(size=(256, 1024, 64)).astype(np.float32)
    made = Loader(ArraySource({"x": x}), Order(np.arange(256), 8, 1), {}, device="cuda", prefetch_batches=1)
    for epoch in range(5):
        for batch in made.iterate(epoch):
            torch.cuda._sleep(1_000_000)
            total = batch["x"].double().sum(dim=(1, 2))
            expected = torch.from_numpy(x[batch["row"].cpu().numpy()]).double().sum(dim=(1, 2))
            assert torch.allclose(total.cpu(), expected)


def test_arrays_are_a_source_and_refuse_what_they_do_not_have():
    source = ArraySource({"x": X, "k": LABEL})
    assert isinstance(source, Source) and len(source) == ROWS
    out = {name: field.allocate(3) for name, field in source.fields.items()}
    source.read(np.array([36, 0, 36]), out)
    assert (out["x"] == X[[36, 0, 36]]).all() and (out["k"] == LABEL[[36, 0, 36]]).all()
    for row in (-1, ROWS):
        with pytest.raises(InputError, match=f"Row {row} is outside a source of 37 rows"):
            source.read(np.array([0, row, 1]), out)
    for arrays in ({}, {"x": X, "k": LABEL[:5]}):
        with pytest.raises(InputError, match="one length"):
            ArraySource(arrays)
    source.close()


def test_closing_wakes_a_consumer_that_waits():
    made = loader(SlowSource({"x": X}, seconds=0.1))
    raised = []

    def consume():
        try:
            drained(made.iterate(0))
        except RuntimeError as error:
            raised.append(str(error))

    consumer = threading.Thread(target=consume)
    consumer.start()
    time.sleep(0.05)
    made.close()
    consumer.join(5)
    assert not consumer.is_alive() and "ended" in raised[0]
