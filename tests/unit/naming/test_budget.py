"""A budget: what is let through, what waits, what is refused."""

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from lae_tasks.naming.budget import Budget, OverBudgetError, share_by_area
from tests.records import make_scene


@pytest.mark.parametrize("limit", [0.00001, 0.0005, 0.00123])
def test_it_is_never_passed_by_requests_of_one_price(limit: float) -> None:
    budget, price = Budget(limit), 37
    done = []

    def ask(number: int) -> None:
        with budget.request():
            time.sleep(0.001)
            done.append(number)
            budget.pay(price)

    with ThreadPoolExecutor(16) as pool:
        asked = [pool.submit(ask, number) for number in range(60)]
    refused = [type(future.exception()) for future in asked if future.exception()]
    # Before the first there is no price: it alone may pass the limit.
    assert len(done) == max(1, int(limit * 1_000_000 / price))
    assert refused == [OverBudgetError] * (60 - len(done))


def test_it_is_passed_by_no_more_than_the_prices_grew() -> None:
    source = random.Random(3)
    prices = [source.randint(10, 60) for _ in range(400)]
    budget, at_once = Budget(0.005), 8
    lock = threading.Lock()

    def ask() -> None:
        with budget.request():
            time.sleep(0.0005)
            with lock:
                price = prices.pop()
            budget.pay(price)

    with ThreadPoolExecutor(at_once) as pool:
        asked = [pool.submit(ask) for _ in range(400)]
    assert any(future.exception() for future in asked)
    assert 5000 - 60 <= budget.spent <= 5000 + 50 * at_once


def test_a_failed_request_leaves_its_place() -> None:
    budget = Budget(1.0)
    for _ in range(3):
        with pytest.raises(ValueError, match="x"), budget.request():
            raise ValueError("x")
    with budget.request():
        pass


def test_without_a_limit_all_go_through_at_once() -> None:
    budget, meeting = Budget(), threading.Barrier(5)

    def ask() -> None:
        with budget.request():
            meeting.wait(timeout=10)

    with ThreadPoolExecutor(5) as pool:
        for future in [pool.submit(ask) for _ in range(5)]:
            future.result()


def test_what_earlier_attempts_spent_counts() -> None:
    with pytest.raises(OverBudgetError), Budget(0.001, spent=980, dearest=30).request():
        pass
    with Budget(0.001, spent=970, dearest=30).request():
        pass
    with pytest.raises(OverBudgetError), Budget(0.001, spent=1000).request():
        pass


def test_a_share_is_by_area() -> None:
    def scene(width_px: int, height_px: int) -> object:
        return make_scene(width_px=width_px, height_px=height_px)

    plan = {"0000": [scene(100, 50), scene(100, 100)], "0001": [scene(50, 100)]}
    assert share_by_area(plan, "0000") == 0.75  # type: ignore[arg-type]
    assert share_by_area(plan, "0001") == 0.25  # type: ignore[arg-type]
